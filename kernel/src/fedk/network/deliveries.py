"""Deliveries: bytes that combiners were asked for, into the spool, and judged."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

import grpc

from fedk.aggregation.intake import Place
from fedk.blobs.reader import Span
from fedk.blobs.spool import Spool
from fedk.blobs.upload import Upload
from fedk.network.calls import Ended, parsed, violated
from fedk.network.doors import AnyTier
from fedk.network.reports import tasks
from fedk.network.threads import Threads
from fedk.network.traffic import Traffic
from fedk.network.turns import Turn, Turns
from fedk.rounds.combiners import Combiner
from fedk.rounds.live import Summed
from fedk_protocol.fields import DELIVERED, data_of
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier

SUMMED = 2**18
"""Updates in one sum: beyond what a tree of combiners brings, and their ids take 40 MB."""

Read = Callable[[], Awaitable[bytes | None]]


class Deliveries:
    """One at a time for each sum; a call that broke off is begun again from the start."""

    def __init__(self, rounds: AnyTier, spool: Spool, *, threads: Threads, traffic: Traffic) -> None:
        self._rounds, self._spool = rounds, spool
        self._threads, self._traffic = threads, traffic
        self._turns = Turns()  # the latest call goes first: the one before may be dead, and writes into the same file

    async def take(self, combiner: Combiner, read: Read) -> None:
        """A whole call. Ended when its bytes are not those that it announces."""
        first = parsed(tier.Delivery, await read() or b"")
        match first.WhichOneof("kind"):
            case "partial":
                await self._partial(combiner, first.partial, read)
            case "forwarded":
                await self._forwarded(combiner, first.forwarded, read)
            case _:
                raise violated("a delivery begins with what it brings")

    async def _partial(self, combiner: Combiner, partial: tier.Partial, read: Read) -> None:
        project = self._rounds.wants(combiner, partial.session, partial.number)
        if project is None:
            self._rounds.again(combiner, partial.session, partial.number)
            return
        if len(partial.tasks) > SUMMED:
            raise violated(f"a sum of {len(partial.tasks):,} updates, at most {SUMMED:,}")
        summands = frozenset(tasks(partial.session, partial.tasks))
        name = f"{combiner.id}#{partial.number}"
        place = _Place(partial.session, project, f"{partial.session}.{name}")
        async with self._turns.take(place.task) as turn:
            if self._rounds.wants(combiner, partial.session, partial.number) is None:  # it has come meanwhile
                self._rounds.again(combiner, partial.session, partial.number)
                return
            span, places = await self._in_turn(turn, place, partial.sums, read)
            summed = Summed(name, partial.round, summands, span, places, partial.raw, partial.total)
            await self._rounds.partial(combiner, partial.number, summed, partial.session)

    async def _forwarded(self, combiner: Combiner, forwarded: tier.Forwarded, read: Read) -> None:
        async with self._turns.take(forwarded.task) as turn:
            await self._forwarded_in(turn, combiner, forwarded, read)

    async def _forwarded_in(self, turn: Turn, combiner: Combiner, forwarded: tier.Forwarded, read: Read) -> None:
        awaited = self._rounds.awaits(combiner, forwarded.task)
        if awaited is None:
            return  # it is here, or elsewhere, or settled: a verdict says so
        place = _Place(awaited.session, awaited.project, forwarded.task)
        span, places = await self._in_turn(turn, place, forwarded.blobs, read)
        known = {name: (p.size, p.sha256) for name, p in awaited.arrival.blobs.items()}
        if known != {name: (p.size, p.sha256) for name, p in places.items()}:
            self._rounds.forget(span)
            raise violated(f"task {forwarded.task}: these are not the bytes that were reported")
        await self._rounds.forwarded(combiner, replace(awaited.arrival, span=span, blobs=places))

    async def _in_turn(
        self, turn: Turn, place: "_Place", blobs: Mapping[str, pb.Blob], read: Read
    ) -> tuple[Span, Mapping[str, Place]]:
        storing = asyncio.create_task(self._stored(place, blobs, read))
        turn.read(storing)
        try:
            await asyncio.wait({storing})
        finally:
            storing.cancel()
            await asyncio.wait({storing})  # its file is gone before the next call makes it anew
        if storing.cancelled():
            raise Ended(grpc.StatusCode.ABORTED, "this is delivered again by another call")
        return storing.result()

    async def _stored(
        self, place: "_Place", blobs: Mapping[str, pb.Blob], read: Read
    ) -> tuple[Span, Mapping[str, Place]]:
        size = sum(blob.size for blob in blobs.values())
        make, fresh = self._threads.make, self._spool.fresh
        upload = await make(Upload.discard, fresh, place.session, place.task, size, project=place.project)
        try:
            places = await self._written(upload, blobs, read, place.session)
            await upload.sync()
        except BaseException:
            upload.discard()
            raise
        upload.close()
        return upload.span, places

    async def _written(
        self, upload: Upload, blobs: Mapping[str, pb.Blob], read: Read, session: str
    ) -> Mapping[str, Place]:
        places, offset = dict[str, Place](), 0
        rest = memoryview(b"")
        for name in sorted(blobs):
            size, digest, missing = blobs[name].size, hashlib.sha256(), blobs[name].size
            while missing:
                if not rest:
                    rest = await self._data(read, session)
                part, rest = rest[:missing], rest[missing:]
                await self._threads.run(_into, upload, digest, part)
                missing -= len(part)
            if digest.digest() != blobs[name].sha256:
                raise violated(f"{name}: the bytes do not have the hash that was announced")
            places[name] = Place(offset, size, digest.digest())
            offset += size
        return places

    async def _data(self, read: Read, session: str) -> memoryview:
        raw = await read()
        if raw is None:
            raise Ended(grpc.StatusCode.ABORTED, "the delivery broke off before its end")
        self._traffic.received(session, len(raw))
        data = data_of(raw, DELIVERED) or memoryview(parsed(tier.Delivery, raw).data)
        if not data:
            raise violated("a delivery is what it brings, then its data")
        return data


@dataclass(frozen=True, slots=True)
class _Place:
    """Of an upload in the spool."""

    session: str
    project: str
    task: str


def _into(upload: Upload, digest: "hashlib._Hash", data: memoryview) -> None:
    digest.update(data)
    upload.write(data)
