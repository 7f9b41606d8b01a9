"""HTTP in the server's own loop: uvicorn without its ticks, its signal handlers and its exit codes."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from fedk.admin.guard import Guard
from fedk.admin.protocol import Protocol
from fedk.api.errors import ConfigError

LAST_WORDS = 2
"""Seconds that responses under way have at the end; streams of events are ended by their feed before."""

BACKLOG = 128
"""Connections that may wait. Without a file descriptor asyncio logs an error for each of them, again and again."""


class HttpServer(uvicorn.Server):
    """Serves one application on one socket until `close`."""

    def __init__(self, app: Starlette) -> None:
        # date_header: uvicorn renews it on its tick of 0.1 s, which an idle server does without
        super().__init__(
            uvicorn.Config(
                Guard(app),
                http=Protocol,
                backlog=BACKLOG,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                date_header=False,
                timeout_graceful_shutdown=LAST_WORDS,
            )
        )
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self, address: str) -> str:
        """Listen on HOST:PORT; returns the address with the port that was taken. ConfigError when it is not free."""
        listener = listen(address)
        host, port = listener.getsockname()[:2]
        self._task = asyncio.create_task(self.serve(sockets=[listener]))
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self._ended.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def close(self) -> None:
        """Stop listening, give responses under way their last words."""
        self.should_exit = True
        self._ended.set()
        if self._task is not None:
            await self._task


def listen(address: str) -> socket.socket:
    """A listening socket of our own: uvicorn answers a taken port with SystemExit inside the loop."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        listener = socket.create_server(
            (host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG
        )
    except OSError as error:
        raise ConfigError(
            f"fedk: {address} (server.admin) is taken by another program or not an address of this machine: "
            f"{error.strerror}. Stop it or choose another port:",
            [f"  FEDK_SERVER__ADMIN={host}:{int(port) + 1} fedk server"],
        ) from error
    # connections inherit it; asyncio sets it only where the protocol is named, which create_server does not: a body after
    # its head waited 40 ms for the acknowledgement of that head, in every answer but the first of a connection
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
