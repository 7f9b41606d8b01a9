"""A combiner with others below it: what is where, and in which sum."""

import asyncio
import hashlib

import numpy as np
import pytest
from kernel.tests.combiner import conftest
from kernel.tests.combiner.conftest import SESSION, Begin, Middle, total
from kernel.tests.compared import Compared

from fedk.rounds.clients import Present, Verdict
from fedk.rounds.combiners import BRANCHES, Branch
from fedk_protocol import rooms
from fedk_protocol.codec import Safetensors
from fedk_protocol.rooms import LEAST, ROOMS
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier

A, B, C, D = (f"{SESSION}-{n}" for n in range(1, 5))


async def test_a_sum_from_below_and_its_own_updates_become_one(middle: Middle) -> None:
    east = await middle.child("east")
    await middle.hold(A)
    middle.report(east, B, C)
    assert middle.above.reported == [A, B, C]
    middle.flush(A, B, C)
    assert await middle.down.asked() == (east.id, [B, C])
    number = await middle.bring(east, B, C)
    assert middle.down.taken == [(east.id, number)]
    assert await middle.above.partial() == total(A, B, C)


async def test_sums_from_below_alone_become_one(middle: Middle) -> None:
    east, west = await middle.child("east"), await middle.child("west")
    middle.report(east, A)
    middle.report(west, B, C)
    middle.flush(A, B, C)
    asked = dict([await middle.down.asked(), await middle.down.asked()])
    assert asked == {east.id: [A], west.id: [B, C]}
    await middle.bring(west, B, C)
    await middle.bring(east, A)
    assert await middle.above.partial() == total(A, B, C)


async def test_a_sum_that_was_asked_for_twice_is_the_same_one(middle: Middle) -> None:
    await middle.hold(A, B)
    numbers = []
    for _ in "12":
        middle.flush(A, B)
        first, _ = await middle.above.delivered.get()
        numbers.append(first.partial.number)
    assert numbers[0] == numbers[1]


async def test_a_sum_of_what_its_sender_has_lost_is_refolded(middle: Middle) -> None:
    """East has said that it has lost A, which west has by now; a sum that it made before is still on its way."""
    east, west = await middle.child("east"), await middle.child("west")
    middle.report(east, A, B)
    middle.children.lost(east, [A])
    assert await middle.above.lost.get() == A
    middle.report(west, A)
    middle.flush(A, B)
    assert dict([await middle.down.asked(), await middle.down.asked()]) == {east.id: [B], west.id: [A]}
    stale = await middle.bring(east, A, B)
    assert middle.down.refolded == [(east.id, stale, [A])]
    assert await middle.down.asked() == (east.id, [B])
    await middle.bring(west, A)
    await middle.bring(east, B)
    assert await middle.above.partial() == total(A, B)


async def test_of_two_sums_with_one_update_the_first_counts(middle: Middle) -> None:
    """East was lost and is back with all that it had; its client has delivered A to west meanwhile."""
    east, west = await middle.child("east"), await middle.child("west")
    middle.report(west, A)
    middle.report(east, A, B)
    middle.flush(A, B)
    assert dict([await middle.down.asked(), await middle.down.asked()]) == {east.id: [B], west.id: [A]}
    await middle.bring(west, A)
    second = await middle.bring(east, A, B)
    assert middle.down.refolded == [(east.id, second, [A])]
    await middle.bring(east, B)
    assert await middle.above.partial() == total(A, B)


async def test_who_has_a_result_too_stands_in_for_who_has_lost_it(middle: Middle) -> None:
    east, west = await middle.child("east"), await middle.child("west")
    middle.report(east, A)
    middle.report(west, A)
    middle.flush(A)
    assert await middle.down.asked() == (east.id, [A])
    middle.children.lost(east, [A])
    assert await middle.down.asked() == (west.id, [A])
    assert middle.above.lost.empty()


async def test_what_came_in_a_sum_and_as_it_was_counts_once(middle: Middle) -> None:
    east = await middle.child("east")
    middle.report(east, A, B)
    middle.flush(A, B)
    await middle.down.asked()
    await middle.give(east, A)
    await middle.bring(east, A, B)
    assert await middle.above.partial() == total(A, B)


async def test_a_sum_that_nobody_has_asked_for_is_refolded(middle: Middle) -> None:
    east = await middle.child("east")
    middle.report(east, A)
    number = await middle.bring(east, A)
    assert middle.down.refolded == [(east.id, number, [A])]


async def test_a_newer_flush_takes_the_place_of_one_that_waits(middle: Middle) -> None:
    east = await middle.child("east")
    await middle.hold(A)
    middle.report(east, B)
    middle.flush(A, B)
    await middle.down.asked()
    middle.flush(A)
    assert await middle.above.partial() == total(A)


async def test_another_disk_below_has_lost_what_the_first_held_and_only_that(middle: Middle) -> None:
    east, west = await middle.child("east"), await middle.child("west")
    middle.report(east, A, B)
    middle.report(west, C)
    middle.flush(A, B, C)
    await middle.bring(east, A)
    middle.report(await middle.child("east", generation="1" * 8))
    assert await middle.above.lost.get() == B
    await middle.bring(west, C)
    assert await middle.above.partial() == total(A, C)
    assert {middle.above.lost.get_nowait() for _ in range(middle.above.lost.qsize())} <= {B}


async def test_a_sum_outlives_who_made_it_and_goes_with_a_verdict_that_was_spoken_while_the_parent_was_away(
    middle: Middle,
) -> None:
    """What is only in a sum is reported too: or nobody would say that it is settled."""
    east, west = await middle.child("east"), await middle.child("west")
    middle.report(east, A)
    middle.report(west, B)
    middle.flush(A, B)
    await middle.bring(east, A)
    middle.report(await middle.child("east", generation="1" * 8))
    middle.above.reported.clear()
    middle.relay.attached()
    assert middle.above.reported == [A, B]
    settled = tier.Settled(session=SESSION, tasks=[1], said=pb.Verdict(outcome=pb.OUTCOME_REJECTED))
    middle.relay.answers(tier.Answers(settled=[settled]))
    assert middle.below.sums(SESSION) == []
    assert [one.task for one in middle.below] == [B]
    middle.spool.sweep()
    assert not list(middle.spool.root.rglob("*.upload"))


async def test_a_sum_that_is_not_wanted_any_more_takes_along_what_is_nowhere_else(middle: Middle) -> None:
    east, west = await middle.child("east"), await middle.child("west")
    middle.report(east, A)
    middle.report(west, B)
    middle.flush(A, B)
    await middle.bring(east, A)
    middle.report(await middle.child("east", generation="1" * 8))
    middle.flush(A, forward=True)
    assert await middle.above.lost.get() == A
    assert [one.task for one in middle.below] == [B]


async def test_what_a_combiner_below_held_is_lost_once_its_grace_is_over(begin: Begin) -> None:
    middle = await begin(grace=0.01)
    east = await middle.child("east")
    middle.report(east, A)
    middle.children.detached(east)
    assert await middle.above.lost.get() == A


async def test_of_combiners_that_are_lost_the_latest_are_remembered(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each new name would stay for ever, and with 4,097 of them no parent takes this one's word."""
    monkeypatch.setattr("fedk.combiner.children.GONE", 2)
    middle = await begin(grace=0.01)
    stays = await middle.child("stays")
    for n in range(1, 6):
        child = await middle.child(f"c{n}")
        middle.report(child, task := f"{SESSION}-{n}")
        middle.children.detached(child)
        assert await middle.above.lost.get() == task
    assert [one.name for one in middle.children.branches()] == [stays.name, "c4", "c5"]
    while erasing := set(middle.children._errands._working):
        await asyncio.wait(erasing)
    await middle.end()
    again = await begin()
    assert sorted(one.name for one in again.children.branches()) == ["c4", "c5", stays.name]


async def test_a_combiner_that_comes_with_another_disk_is_none_of_those_that_are_lost(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the clock said when others were there."""
    monkeypatch.setattr("fedk.combiner.children.GONE", 1)
    middle = await begin(grace=0.01)
    early, east = await middle.child("early"), await middle.child("east")
    early.last_seen += 1e9
    middle.report(early, A)
    middle.children.detached(early)
    assert await middle.above.lost.get() == A
    await middle.child(east.name, "1" * 8)
    assert [one.name for one in middle.children.branches()] == ["early", "east"]


async def test_of_more_combiners_below_than_a_parent_takes_those_that_are_lost_are_not_told(middle: Middle) -> None:
    """Each of five in the middle remembers a thousand; of one word too many a parent takes nothing."""
    for name in ("a", "b", "c", "d", "e"):
        child = await middle.child(name)
        below = [Branch(f"{name}{n}", "0" * 8, name, "lost", 0, 0, 0) for n in range(1_000)]
        middle.children.below(child, [*below, Branch(f"{name}-is-here", "0" * 8, name, "live", 0, 0, 0)], complete=True)
    told = middle.children.branches()
    assert len(told) == BRANCHES
    assert sum(one.state == "live" for one in told) == 10


async def test_what_is_told_of_each_combiner_below_costs_what_it_has_and_not_what_all_have(middle: Middle) -> None:
    """It is told with each word upwards: of a thousand combiners with one client each it took 60 ms."""
    for n in range(1, 101):
        child = await middle.child(f"c{n}")
        child.id = Compared(child.id)
        middle.children.here(child, [Present(f"client-{n}", "i1")])
        middle.report(child, f"{SESSION}-{n}")
    Compared.times = 0
    assert [(one.clients, one.held) for one in middle.children.branches()] == [(1, 1)] * 100
    assert Compared.times < 100 * 10


async def test_after_a_restart_a_flush_waits_for_who_was_below_before(begin: Begin) -> None:
    before = await begin()
    await before.child("east")
    await before.hold(A)
    await before.end()
    middle = await begin()
    middle.flush(A, B, C)
    east = await middle.child("east")
    middle.report(east, B, complete=False)
    assert await middle.down.asked() == (east.id, [B])
    await middle.bring(east, B)
    middle.report(east)  # C was at a combiner below east, which has lost its disk
    assert await middle.above.lost.get() == C
    assert await middle.above.partial() == total(A, B)


async def test_without_anybody_below_what_is_not_here_is_lost_at_once(middle: Middle) -> None:
    await middle.hold(A)
    middle.flush(A, B)
    assert await middle.above.lost.get() == B
    assert await middle.above.partial() == total(A)


async def test_results_that_are_forwarded_are_held_here_before_they_go_up(middle: Middle) -> None:
    east = await middle.child("east")
    await middle.hold(A)
    middle.report(east, B)
    middle.flush(A, B, forward=True)
    assert await middle.down.asked() == (east.id, [B])
    first, _ = await middle.above.delivered.get()
    assert first.forwarded.task == A
    await middle.give(east, B)
    first, _ = await middle.above.delivered.get()
    assert first.forwarded.task == B
    assert middle.holdings.get(B) is not None


async def test_a_drain_below_asks_for_each_result_as_it_came_and_stays_after_a_restart(begin: Begin) -> None:
    middle = await begin()
    east = await middle.child("east")
    middle.report(east, A)
    middle.children.drain("east")
    holder, flush = await middle.down.flushes.get()
    assert (holder, flush.forward, [one.task for one in flush.wanted]) == (east.id, True, [A])
    assert middle.down.moved == [east.id]
    await middle.end()
    middle = await begin()
    assert (await middle.child("east")).state == "draining"


async def test_a_verdict_goes_to_all_who_hold_the_result(middle: Middle) -> None:
    east, west = await middle.child("east"), await middle.child("west")
    middle.report(east, A)
    middle.report(west, A)
    said = pb.Verdict(task=A, result_id="r1", outcome=pb.OUTCOME_COMMITTED)
    middle.relay.answers(tier.Answers(answers=[tier.Answer(client=f"client-{A}", verdict=said)]))
    ((client, _, holders),) = middle.down.replies
    assert (client, holders) == (f"client-{A}", (east.id, west.id))


async def test_one_verdict_on_many_goes_to_each_client_and_what_is_not_here_is_said_to_be_lost(middle: Middle) -> None:
    """The parent knows whose that was."""
    east = await middle.child("east")
    await middle.hold(A)
    middle.report(east, B)
    settled = tier.Settled(session=SESSION, tasks=[1, 1, 7], said=pb.Verdict(outcome=pb.OUTCOME_COMMITTED, model="m/1"))
    middle.relay.answers(tier.Answers(settled=[settled]))
    assert middle.down.replies == [
        (f"client-{A}", Verdict(A, "r1", "committed", "m/1"), ()),
        (f"client-{B}", Verdict(B, "r1", "committed", "m/1"), (east.id,)),
    ]
    assert await middle.above.lost.get() == f"{SESSION}-9"
    assert middle.holdings.get(A) is None


async def test_a_sum_of_many_that_one_word_settles_is_dropped_once(middle: Middle) -> None:
    await middle.hold(A, B, C)
    middle.flush(A, B, C)
    await middle.above.partial()
    await asyncio.wait(set(middle.flushes._errands._working))
    settled = tier.Settled(session=SESSION, tasks=[1, 1, 1], said=pb.Verdict(outcome=pb.OUTCOME_REJECTED))
    middle.relay.answers(tier.Answers(settled=[settled]))
    (dropping,) = middle.flushes._errands._working
    await dropping
    assert not list((middle.folder / "partials").iterdir())


async def test_the_memory_of_large_sums_goes_back(middle: Middle, monkeypatch: pytest.MonkeyPatch) -> None:
    base = Safetensors().dumps({"w": np.zeros(LEAST, np.float32)})
    monkeypatch.setattr(conftest, "BASE", base)
    monkeypatch.setattr(conftest, "BASE_HASH", hashlib.sha256(base).digest())
    monkeypatch.setattr(conftest, "update", lambda _task: np.ones(LEAST, np.float32))
    monkeypatch.setattr(rooms, "REST", 0.0)
    monkeypatch.setattr(ROOMS, "_rooms", [])  # without what other tests have left
    await middle.hold(A, B)
    middle.flush(A, B)
    assert await middle.above.partial() == total(A, B)
    assert ROOMS.nbytes == 0
