"""Deliveries: bytes that combiners were asked for, into the spool, and judged."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping

import grpc

from fedk.aggregation.intake import Place
from fedk.blobs.reader import Span
from fedk.blobs.spool import Spool
from fedk.blobs.upload import Upload
from fedk.network.calls import Ended, parsed, violated
from fedk.network.threads import Threads
from fedk.network.traffic import Traffic
from fedk.rounds.clients import Arrival
from fedk.rounds.combiners import Combiner
from fedk.rounds.live import Live, Summed
from fedk.rounds.tier import Tier
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier

SUM = "sum"
"""In the place of a result id: a partial has its own task in the spool, and one content for ever."""

Read = Callable[[], Awaitable[bytes | None]]


class Deliveries:
    """One at a time for each sum; a call that broke off is begun again from the start."""

    def __init__(self, rounds: Tier, spool: Spool, *, threads: Threads, traffic: Traffic) -> None:
        self._rounds, self._runner, self._spool = rounds, rounds.runner, spool
        self._threads, self._traffic = threads, traffic

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
        if not self._rounds.wants(combiner, partial.session, partial.number):
            self._rounds.again(combiner, partial.session, partial.number)
            return
        name = f"{combiner.id}#{partial.number}"
        live = self._runner.lives[partial.session]
        span, places = await self._stored(live, f"{live.state.id}.{name}", SUM, partial.sums, read)
        summed = Summed(name, partial.round, frozenset(partial.tasks), span, places, partial.raw, partial.total)
        await self._rounds.partial(combiner, partial.number, summed, partial.session)

    async def _forwarded(self, combiner: Combiner, forwarded: tier.Forwarded, read: Read) -> None:
        live = self._runner.live_of(forwarded.task)
        taken = live.taken.get(forwarded.task) if live is not None else None
        if live is None or taken is None or self._rounds.awaits(combiner, forwarded.task, taken.arrival.sha256) is None:
            return  # it is here, or elsewhere, or settled: a verdict says so
        span, places = await self._stored(live, forwarded.task, forwarded.result_id, forwarded.blobs, read)
        known = {name: (p.size, p.sha256) for name, p in taken.arrival.blobs.items()}
        if known != {name: (p.size, p.sha256) for name, p in places.items()}:
            self._runner.forget(span)
            raise violated(f"task {forwarded.task}: these are not the bytes that were reported")
        arrival = Arrival(
            task=forwarded.task,
            client=taken.arrival.client,
            result_id=forwarded.result_id,
            num_examples=taken.arrival.num_examples,
            metrics=taken.arrival.metrics,
            sha256=taken.arrival.sha256,
            span=span,
            blobs=places,
        )
        await self._rounds.forwarded(combiner, arrival)

    async def _stored(
        self, live: Live, task: str, result_id: str, blobs: Mapping[str, pb.Blob], read: Read
    ) -> tuple[Span, Mapping[str, Place]]:
        size = sum(blob.size for blob in blobs.values())
        opened = self._spool.upload
        upload = await self._threads.run(opened, live.state.id, task, result_id, size, project=live.project)
        if upload.got:  # half of it, from a call that broke off
            await self._threads.run(upload.discard)
            upload = await self._threads.run(opened, live.state.id, task, result_id, size, project=live.project)
        try:
            places = await self._written(upload, blobs, read, live.state.id)
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
        message = parsed(tier.Delivery, raw)
        if not message.data:
            raise violated("a delivery is what it brings, then its data")
        return memoryview(message.data)


def _into(upload: Upload, digest: "hashlib._Hash", data: memoryview) -> None:
    digest.update(data)
    upload.write(data)
