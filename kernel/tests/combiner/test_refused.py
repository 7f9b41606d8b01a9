"""What a parent has asked for and does not take, while it is there."""

import logging
from collections.abc import Iterable
from pathlib import Path

import pytest
from kernel.tests.combiner.conftest import SESSION, Middle, total

from fedk.api.errors import BlobError, Refused
from fedk.rounds import repairs
from fedk_protocol.v1 import tier_pb2 as tier

A, B, C = (f"{SESSION}-{n}" for n in range(1, 4))
pytestmark = pytest.mark.timeout(20)  # far sooner than a round's deadline

FULL, OTHERS = Refused("spool-full", "no room"), BlobError("these are not the bytes that were announced")


async def test_a_sum_that_finds_no_room_is_the_same_one_when_it_is_offered_again(middle: Middle) -> None:
    await middle.hold(A, B)
    middle.above.refusals.put_nowait(FULL)
    middle.flush(A, B)
    assert await middle.above.partial() == total(A, B)
    assert len(middle.partials.having(A)) == 1


async def test_results_that_find_no_room_are_offered_again_and_those_after_them_too(middle: Middle) -> None:
    await middle.hold(A, B, C)
    middle.above.refusals.put_nowait(FULL)
    middle.flush(A, B, C, forward=True)
    assert [(await middle.above.delivered.get())[0].forwarded.task for _ in range(3)] == [A, B, C]


async def test_a_sum_whose_bytes_are_not_those_that_were_announced_is_made_anew(middle: Middle) -> None:
    await middle.hold(A, B)
    middle.flush(A, B)
    first, _ = await middle.above.delivered.get()
    middle.above.refusals.put_nowait(OTHERS)
    middle.flush(A, B)
    again, _ = await middle.above.delivered.get()
    assert again.partial.number != first.partial.number


async def test_a_result_that_is_damaged_here_is_lost_at_once_and_the_others_are_given(middle: Middle) -> None:
    await middle.hold(A, B)
    await middle.spool.sync()
    path = next(middle.spool.root.rglob("*.segment"))
    path.write_bytes(b"damaged" + path.read_bytes()[7:])  # of A, which came first
    middle.above.refusals.put_nowait(OTHERS)
    middle.flush(A, B, forward=True)
    assert await middle.above.lost.get() == A
    assert (await middle.above.delivered.get())[0].forwarded.task == B


async def test_a_newer_flush_does_not_wait_for_one_that_has_been_refused(
    middle: Middle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repairs, "FIRST", 3_600.0)
    await middle.hold(A, B)
    for _ in range(2):  # it is offered again at once, and then not for long
        middle.above.refusals.put_nowait(FULL)
    middle.flush(A, B)
    await middle.above.refusals.join()
    middle.flush(A)
    assert await middle.above.partial() == total(A)


async def test_a_result_that_is_never_taken_keeps_no_other_one_back(middle: Middle) -> None:
    taken = middle.above.deliver

    async def all_but_a(first: tier.Delivery, files: Iterable[tuple[Path, int, int]]) -> None:
        if first.forwarded.task == A:
            raise OTHERS
        await taken(first, files)

    middle.above.deliver = all_but_a  # type: ignore[method-assign]  # the same, but for one
    await middle.hold(A, B, C)
    middle.flush(A, B, C, forward=True)
    assert [(await middle.above.delivered.get())[0].forwarded.task for _ in range(2)] == [B, C]


async def test_a_sum_that_could_not_be_written_is_written_once_there_is_room_again(middle: Middle) -> None:
    """The parent is there, and does not ask again."""
    folder = middle.folder / "partials"

    class Mends(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            folder.mkdir(exist_ok=True)

    log, mends = logging.getLogger("fedk.combiner"), Mends(logging.WARNING)
    log.addHandler(mends)
    await middle.hold(A, B)
    folder.rmdir()
    middle.flush(A, B)
    try:
        assert await middle.above.partial() == total(A, B)
    finally:
        log.removeHandler(mends)
        folder.mkdir(exist_ok=True)
