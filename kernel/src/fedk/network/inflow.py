"""The inflow: an upload's chunks, checked and written by a thread while the next ones arrive."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import grpc

from fedk.aggregation.intake import Facts, Intake
from fedk.aggregation.unpacking import Hashing
from fedk.blobs.reader import Reader, Span
from fedk.blobs.upload import Upload
from fedk.network.allowance import Allowance
from fedk.network.calls import Ended, parsed, violated
from fedk.network.threads import Threads
from fedk.network.turns import Turn
from fedk_protocol.fields import data_of
from fedk_protocol.v1 import federation_pb2 as pb

BATCH = 2**20
"""Bytes of an upload that may wait for the thread: large enough that handing over costs nothing."""

ALL = 8 * 2**20
"""Bytes of all uploads that may be here and not yet written: memory is the same for four clients and for a hundred."""

Read = Callable[[], Awaitable[bytes | None]]
"""The next message of a call; None at its end."""


class Inflow:
    """One call's bytes on their way into `upload`, through `intake`."""

    def __init__(self, intake: Intake | Hashing, upload: Upload, *, allowance: Allowance, threads: Threads) -> None:
        self.received = 0
        self._intake, self._upload = intake, upload
        self._allowance, self._threads = allowance, threads
        self._batch: list[memoryview] = []
        self._size, self._over = 0, False
        self._news, self._room = asyncio.Event(), asyncio.Event()

    async def run(self, read: Read, turn: Turn) -> tuple[Facts, Mapping[str, bytes]]:
        """What is known of all bytes, and the hashes that came last. Raises Refused, Ended, BlobError."""
        reading = asyncio.create_task(self._read(read))
        reading.add_done_callback(self._at_end)  # not in the task: one that is cut before it begins never runs
        turn.read(reading)
        try:
            await self._threads.run(self._replay)
            await self._write_all()
            await asyncio.wait({reading})
            if reading.cancelled():
                raise Ended(grpc.StatusCode.ABORTED, "the task is settled, or its result is sent again elsewhere")
            late = reading.result()
            return await self._threads.run(self._intake.finish), late
        finally:
            reading.cancel()
            self._allowance.give(sum(map(len, self._batch)))

    async def _read(self, read: Read) -> Mapping[str, bytes]:
        while (raw := await read()) is not None:
            self.received += len(raw)
            if data := data_of(raw):
                await self._put(data)
                continue
            message = parsed(pb.UploadMessage, raw)
            if message.HasField("end"):
                return dict(message.end.sha256)
            if not message.HasField("data"):
                raise violated("an upload is begin, then data, then end")
            await self._put(memoryview(message.data))
        raise Ended(grpc.StatusCode.ABORTED, "the upload broke off before its end; what came is kept")

    def _at_end(self, _: "asyncio.Task[Mapping[str, bytes]]") -> None:
        self._over = True
        self._news.set()

    async def _put(self, data: memoryview) -> None:
        while self._size >= BATCH:
            self._room.clear()
            await self._room.wait()
        await self._allowance.take(len(data))
        self._batch.append(data)
        self._size += len(data)
        self._news.set()

    async def _write_all(self) -> None:
        while batch := await self._next():
            try:
                await self._threads.run(self._write, batch)
            finally:
                self._allowance.give(sum(map(len, batch)))

    async def _next(self) -> list[memoryview]:
        while not self._batch and not self._over:
            self._news.clear()
            await self._news.wait()
        batch, self._batch, self._size = self._batch, [], 0
        self._room.set()
        return batch

    # ---- in a thread ----

    def _replay(self) -> None:
        """A half upload is gone on with: intake must see what came before."""
        got = self._upload.got
        if got:
            with Reader(Span(self._upload.span.path, 0, got)) as reader:
                for at in range(0, got, BATCH):
                    self._intake.feed(reader.read(at, min(BATCH, got - at)))

    def _write(self, batch: list[memoryview]) -> None:
        for data in batch:
            self._intake.feed(data)
            self._upload.write(data)
