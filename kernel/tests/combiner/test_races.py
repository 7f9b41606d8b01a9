"""What changes while a combiner waits: nothing is lost, leaked or left waiting by it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from kernel.tests.combiner.conftest import BASE, BASE_HASH, SESSION, Above, Middle
from kernel.tests.combiner.test_relay import asked, common

from fedk.api.errors import NotFound, StateError
from fedk.blobs.reader import Span
from fedk.combiner.inputs import Inputs
from fedk.network.uplink import Uplink
from fedk.rounds.clients import Joining, Present
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier

A, B = f"{SESSION}-1", f"{SESSION}-2"


async def turns(n: int = 5) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


def read(span: Span) -> bytes:
    return Path(span.path).read_bytes()


class Slow(Above):
    """Sends half of a blob, then waits for a word."""

    def __init__(self) -> None:
        super().__init__()
        self.fetches = 0
        self.halfway: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

    async def fetch(self, sha256: bytes, write: Callable[[bytes], None]) -> None:
        self.fetches += 1
        write(BASE[:8])
        go: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.halfway.put_nowait(go)
        await go
        write(BASE[8:])


# ---- inputs ----


async def test_who_leaves_while_a_blob_is_fetched_does_not_take_it_from_the_others(tmp_path: Path) -> None:
    inputs, above = Inputs(tmp_path), Slow()
    leaves, stays = (asyncio.create_task(inputs.use(BASE_HASH, above)) for _ in range(2))
    first = await above.halfway.get()
    leaves.cancel()
    await asyncio.wait({leaves})
    third = asyncio.create_task(inputs.use(BASE_HASH, above))
    await turns()
    first.set_result(None)
    span = await stays
    await turns()
    assert read(span) == BASE  # nobody has begun to write it again
    assert above.fetches == 1
    await third


async def test_a_blob_that_nobody_waits_for_any_more_is_not_there(tmp_path: Path) -> None:
    inputs, above = Inputs(tmp_path), Slow()
    leaves = asyncio.create_task(inputs.use(BASE_HASH, above))
    first = await above.halfway.get()
    leaves.cancel()
    await asyncio.wait({leaves})
    if not first.done():
        first.set_result(None)
    await turns()
    with pytest.raises(NotFound):
        inputs.span(BASE_HASH)


# ---- relay ----


async def slow(middle: Middle) -> Slow:
    above = Slow()
    middle.above = above
    middle.relay._parent = above
    await middle.relay.join(Joining("default", "a", "i1", {}, (), (), ""))
    return above


async def test_a_task_that_is_offered_twice_while_its_model_is_fetched_counts_once(middle: Middle) -> None:
    above = await slow(middle)
    middle.relay.relay([common()], [*asked(A), *asked(A)])
    (await above.halfway.get()).set_result(None)
    await asyncio.wait(set(middle.relay._errands._working))
    middle.relay.relay([common(2)], [])  # of the next round
    middle.relay.forget(A)
    await turns()
    with pytest.raises(NotFound):  # its last task is gone, and so is its model
        middle.relay._inputs.span(BASE_HASH)


async def test_a_task_that_is_taken_back_while_its_model_is_fetched_is_not_offered(middle: Middle) -> None:
    above = await slow(middle)
    middle.relay.relay([common()], asked(A))
    go = await above.halfway.get()
    middle.relay.answers(tier.Answers(answers=[tier.Answer(client="a", cancel=pb.Cancel(task=A, reason="late"))]))
    go.set_result(None)
    await asyncio.wait(set(middle.relay._errands._working))
    assert middle.down.offered.empty()
    assert not middle.relay.awaits("a", A)


async def test_a_task_of_a_client_that_leaves_while_its_model_is_fetched_is_not_kept(middle: Middle) -> None:
    above = await slow(middle)
    middle.relay.relay([common()], asked(A))
    go = await above.halfway.get()
    middle.relay.gone([Present("a", "i1", cause="lost")])
    go.set_result(None)
    await asyncio.wait(set(middle.relay._errands._working))
    assert middle.down.offered.empty()
    assert not middle.relay._tasks


async def test_a_task_whose_round_is_over_while_its_model_is_fetched_still_has_its_model(middle: Middle) -> None:
    """Async: the next round's common part comes, and the tasks of the one before stay open."""
    above = await slow(middle)
    middle.relay.relay([common()], asked(A))
    go = await above.halfway.get()
    middle.relay.relay([common(2)], [])
    go.set_result(None)
    assert await middle.down.offered.get() == A
    assert read(middle.relay._inputs.span(BASE_HASH)) == BASE
    middle.relay.forget(A)
    with pytest.raises(NotFound):
        middle.relay._inputs.span(BASE_HASH)


# ---- holdings ----


async def test_a_result_that_is_forwarded_twice_at_once_ends_nothing(middle: Middle) -> None:
    child = await middle.child("c1")
    middle.report(child, A)
    loop, twice = middle.holdings._loop, asyncio.gather(middle.give(child, A), middle.give(child, A))
    assert loop is not None
    await asyncio.wait({loop, twice}, return_when=asyncio.FIRST_COMPLETED)
    assert not loop.done()  # or no result would ever get a receipt again
    await twice
    await middle.hold(B)
    assert {held.task for held in middle.holdings.all()} == {A, B}


async def test_holdings_close_though_nothing_can_be_written(middle: Middle) -> None:
    await middle.hold(A)
    tries = 0

    @asynccontextmanager
    async def failing() -> AsyncIterator[Any]:
        nonlocal tries
        tries += 1
        if tries > 3:
            raise RuntimeError("it would go on for ever")
        raise StateError("the disk is full")
        yield

    whole, middle.store.transaction = middle.store.transaction, failing  # type: ignore[method-assign]
    try:
        middle.holdings.drop(A)
        await middle.holdings.close()
    finally:
        middle.store.transaction = whole  # type: ignore[method-assign]
    assert tries <= 3


# ---- uplink ----


async def test_a_fault_in_hearing_the_parent_breaks_one_stream_and_not_the_uplink(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fedk.network.uplink.BASE", 0.0)
    uplink, again = Uplink(["here:1"], tier.Attach()), asyncio.Event()

    async def stream(_: str) -> None:
        if uplink.attached.is_set() or uplink.refusal:
            again.set()
            await asyncio.Event().wait()
        uplink.attached.set()
        raise OSError(5, "the spool cannot be renamed")  # out of Relay.answers: Spool.forget

    monkeypatch.setattr(uplink, "_stream", stream)
    uplink.start(None, tier.Work)  # type: ignore[arg-type]
    waiting = asyncio.create_task(again.wait())
    await asyncio.wait({waiting, uplink._running}, return_when=asyncio.FIRST_COMPLETED)  # type: ignore[arg-type]
    assert again.is_set()
    assert not uplink.is_here
    waiting.cancel()
    await uplink.close()
