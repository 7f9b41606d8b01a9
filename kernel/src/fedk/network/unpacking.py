"""What came in a codec, put into the spool as the native bytes that are folded."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

from fedk.aggregation.expected import Expected
from fedk.aggregation.intake import Facts, Intake
from fedk.aggregation.unpacking import Unpacked
from fedk.api.codec import Source
from fedk.blobs.reader import Span
from fedk.blobs.spool import Spool
from fedk.blobs.upload import Upload
from fedk.network import results
from fedk.network.threads import Threads
from fedk.rounds.door import OpenTask
from fedk_protocol.v1 import federation_pb2 as pb

SEGMENTED = 64 * 2**10
"""Bytes of an unpacked result that waits in memory for the next sync, with others, uncounted; a larger one has a file."""


class Unpacker:
    """Checks as intake does, block by block, and keeps the hash of the bytes that came."""

    def __init__(self, spool: Spool, threads: Threads) -> None:
        self._spool, self._threads = spool, threads

    async def unpack(self, result: pb.Result, task: OpenTask, source: Source, came: Facts) -> tuple[Facts, Span]:
        """Raises Refused and BlobError. In a file it is durable when this returns, in a segment after the next sync."""
        facts, kept = await self._threads.make(self._forget, self._unpack, result, task, source, came)
        if not isinstance(kept, Upload):
            return facts, kept
        try:
            await kept.sync()  # here, or a batch of small results would wait for it
        except asyncio.CancelledError:
            self._spool.forget(kept.span)
            raise
        return facts, kept.span

    def _forget(self, made: tuple[Facts, Upload | Span]) -> None:
        _, kept = made
        self._spool.forget(kept.span if isinstance(kept, Upload) else kept)

    # ---- in a thread ----

    def _unpack(self, result: pb.Result, task: OpenTask, source: Source, came: Facts) -> tuple[Facts, Upload | Span]:
        unpacked = results.unpacked(task, source, came)
        intake = Intake(task.expected or Expected(None), unpacked.sizes)
        put = self._into_segment if unpacked.size <= SEGMENTED else self._into_file
        kept = put(result, task, intake, unpacked)
        return replace(intake.finish(), sha256=came.sha256), kept

    def _into_segment(self, _: pb.Result, task: OpenTask, intake: Intake, unpacked: Unpacked) -> Span:
        data = b"".join(_fed(intake, unpacked))
        return self._spool.append(task.session, task.round, data, project=task.project)

    def _into_file(self, result: pb.Result, task: OpenTask, intake: Intake, unpacked: Unpacked) -> Upload:
        file = self._spool.fresh(task.session, result.task, unpacked.size, project=task.project)
        try:
            for piece in _fed(intake, unpacked):
                file.write(piece)
        except BaseException:
            file.discard()
            raise
        file.close()
        return file


def _fed(intake: Intake, unpacked: Unpacked) -> Iterator[bytes | memoryview]:
    """The pieces, each checked before it is kept; the last word of the checks comes with the last piece."""
    for piece in unpacked.pieces():
        intake.feed(piece)
        yield piece
    intake.finish()
