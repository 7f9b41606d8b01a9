"""A wire between a client and a server that can go dead: bytes neither pass nor bounce."""

import asyncio
from typing import Self


class Wire:
    """`await Wire.to(address)`, then dial `wire.address`."""

    def __init__(self, target: str) -> None:
        self._host, _, self._port = target.rpartition(":")
        self.address = ""
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    @classmethod
    async def to(cls, target: str) -> Self:
        wire = cls(target)
        wire._server = await asyncio.start_server(wire._carry, "127.0.0.1", 0)
        wire.address = f"127.0.0.1:{wire._server.sockets[0].getsockname()[1]}"
        return wire

    def freeze(self) -> None:
        """From now on nothing passes, in either direction."""
        self._open.clear()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.close()
        if self._server is not None:
            self._server.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection(self._host, int(self._port))
        self._writers += [writer, other_writer]
        for source, target in ((reader, other_writer), (other_reader, writer)):
            task = asyncio.create_task(self._pump(source, target))
            self._tasks.add(task)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            await self._open.wait()
            target.write(data)
        target.close()
