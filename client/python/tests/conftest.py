"""A scripted server on real gRPC, clients that are stopped when their test ends, and what they say to a person."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from fedk.testing.protocol import PATIENCE, ScriptedServer
from fedk_client import ClientApp
from fedk_client.running import Running

Start = Callable[..., Running[Any, Any]]


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """`start(app, address, name="a", …)`: like app.start; leaving is not this test's subject unless it says so."""
    running: list[Running[Any, Any]] = []

    def begin(app: ClientApp[Any, Any], address: str, *, name: str = "a", **options: Any) -> Running[Any, Any]:
        running.append(app.start(address, name=name, **options))
        return running[-1]

    yield begin
    for each in running:
        await asyncio.to_thread(each.stop)


class Lines(logging.Handler):
    """The lines that clients have logged, to be awaited."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.all.append(record.getMessage())
        self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def said(self, text: str) -> None:
        """Until a line has contained `text`."""
        async with asyncio.timeout(PATIENCE):  # a client that never says it fails its test
            while not any(text in line for line in self.all):
                await self._news.wait()


@pytest.fixture
async def lines() -> AsyncIterator[Lines]:
    log = logging.getLogger("fedk_client")
    lines, level = Lines(), log.level
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    yield lines
    log.removeHandler(lines)
    log.setLevel(level)
