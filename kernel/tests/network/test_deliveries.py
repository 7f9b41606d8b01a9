"""Deliveries that come twice: a combiner's stream broke, and it says again what it was asked for."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from fedk.blobs.reader import Reader
from fedk.blobs.spool import Spool
from fedk.combiner.columns import gaps
from fedk.network.calls import Ended
from fedk.network.deliveries import SUMMED, Deliveries
from fedk.network.threads import Threads
from fedk.network.traffic import Traffic
from fedk.rounds.combiners import Combiner
from fedk.rounds.live import Summed
from fedk.settings.settings import MESSAGE
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier

DATA = b"0123456789abcdef"


class Rounds:
    """Of a root, as far as a sum goes."""

    def __init__(self) -> None:
        self.taken: list[Summed] = []
        self.waiting: list[Summed] = []
        self.waits: asyncio.Event | None = None  # the first one for its commit, for ever

    def wants(self, _combiner: Combiner, _session: str, _number: int) -> str | None:
        return None if self.taken else "default"

    def again(self, _combiner: Combiner, _session: str, _number: int) -> None:
        """It is here."""

    async def partial(self, _combiner: Combiner, _number: int, summed: Summed, _session: str) -> None:
        if self.waits is not None and not self.waiting:
            self.waiting.append(summed)
            self.waits.set()
            await asyncio.Event().wait()
        self.taken.append(summed)


class Call:
    """One call's messages; None ends it."""

    def __init__(self, deliveries: Deliveries) -> None:
        self.words: asyncio.Queue[bytes | None] = asyncio.Queue()
        blob = pb.Blob(size=len(DATA), sha256=hashlib.sha256(DATA).digest())
        partial = tier.Partial(session="s1", number=7, round=1, tasks=gaps([1, 2]), sums={"model/0": blob})
        self.say(partial=partial)
        combiner = Combiner("east", "0" * 8, ())
        self.taking = asyncio.create_task(deliveries.take(combiner, self.read))

    def say(self, **message: Any) -> None:
        self.words.put_nowait(tier.Delivery(**message).SerializeToString())

    async def read(self) -> bytes | None:
        word = await self.words.get()
        self.words.task_done()
        return word


def test_a_sum_of_as_many_updates_as_may_be_is_announced_in_one_message() -> None:
    tasks = [2**32 // SUMMED] * SUMMED  # numbers of 32 bits, as far from each other as can be
    assert tier.Delivery(partial=tier.Partial(tasks=tasks)).ByteSize() < MESSAGE


@pytest.mark.parametrize("end", ["cancelled", "broken off"])
async def test_a_call_that_is_dead_takes_nothing_from_the_one_that_came_after_it(tmp_path: Path, end: str) -> None:
    rounds, spool, threads = Rounds(), Spool(tmp_path / "spool", 2**20), Threads()
    deliveries = Deliveries(rounds, spool, threads=threads, traffic=Traffic())  # type: ignore[arg-type]
    try:
        dead = Call(deliveries)
        dead.say(data=DATA[:8])
        await dead.words.join()
        fresh = Call(deliveries)
        fresh.say(data=DATA)
        await fresh.taking
        if end == "cancelled":  # by gRPC, once keepalive has seen it
            dead.taking.cancel()
        else:
            dead.words.put_nowait(None)
        with pytest.raises((asyncio.CancelledError, Ended)):
            await dead.taking
        spool.sweep()
        (summed,) = rounds.taken
        with Reader(summed.span) as reader:
            assert reader.read(0, reader.size) == DATA
    finally:
        threads.close()
        spool.close()


async def test_a_sum_that_waits_for_its_commit_stays_as_it_is_while_it_comes_again(tmp_path: Path) -> None:
    rounds, spool, threads = Rounds(), Spool(tmp_path / "spool", 2**20), Threads()
    rounds.waits = asyncio.Event()
    deliveries = Deliveries(rounds, spool, threads=threads, traffic=Traffic())  # type: ignore[arg-type]
    try:
        first = Call(deliveries)
        first.say(data=DATA)
        async with asyncio.timeout(10):
            await rounds.waits.wait()
        first.taking.cancel()
        (summed,) = rounds.waiting
        again = Call(deliveries)
        again.say(data=DATA[:8])
        await again.words.join()
        with Reader(summed.span) as reader:
            assert reader.read(0, reader.size) == DATA
        again.say(data=DATA[8:])
        await again.taking
        spool.forget(rounds.taken[0].span)  # as of a number that is taken
        with Reader(summed.span) as reader:
            assert reader.read(0, reader.size) == DATA
    finally:
        threads.close()
        spool.close()
