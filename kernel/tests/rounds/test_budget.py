"""Memory that sessions share: who gets it, who gives way, who waits."""

import asyncio
import time

import pytest

from fedk.aggregation.total import Total
from fedk.rounds.budget import Budget
from fedk_protocol.rooms import LEAST, REST, ROOMS


class Holder:
    """Gives way where it only folds ahead."""

    def __init__(self, memory: Budget, *, ahead: bool = False) -> None:
        self.memory, self.ahead = memory, ahead

    def give_way(self) -> None:
        if self.ahead:
            self.memory.give(self)


async def test_what_folds_ahead_gets_what_is_spare_and_no_more() -> None:
    memory = Budget(100)
    holders = [Holder(memory, ahead=True) for _ in range(3)]
    assert [memory.spare(holder, 40) for holder in holders] == [True, True, False]
    assert memory.held == 80


async def test_one_that_is_larger_than_all_is_let_in_alone() -> None:
    memory = Budget(100)
    large, other = Holder(memory), Holder(memory)
    await memory.take(large, 1_000)
    waiting = asyncio.create_task(memory.take(other, 1))
    await asyncio.sleep(0)
    assert (memory.held, memory.short, waiting.done()) == (1_000, True, False)
    memory.give(large)
    await waiting
    assert (memory.held, memory.short) == (1, False)


async def test_only_as_many_give_way_as_must() -> None:
    memory = Budget(100)
    ahead = [Holder(memory, ahead=True) for _ in range(4)]
    assert all(memory.spare(holder, 25) for holder in ahead)
    await memory.take(Holder(memory), 50)
    assert memory.held == 100


async def test_a_large_one_is_not_overtaken_by_small_ones_that_came_later() -> None:
    memory, order = Budget(100), []
    first, large, small = Holder(memory), Holder(memory), Holder(memory)
    await memory.take(first, 60)

    async def take(holder: Holder, nbytes: int) -> None:
        await memory.take(holder, nbytes)
        order.append(nbytes)

    waiting = [asyncio.create_task(take(large, 90)), asyncio.create_task(take(small, 10))]
    await asyncio.sleep(0)
    assert not memory.spare(Holder(memory), 1)  # somebody needs it more
    memory.give(first)
    await asyncio.gather(*waiting)
    assert order == [90, 10]


async def test_who_is_cancelled_while_it_waits_holds_nobody_up() -> None:
    memory = Budget(100)
    first, other = Holder(memory), Holder(memory)
    await memory.take(first, 100)
    waiting = asyncio.create_task(memory.take(Holder(memory), 100))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    memory.give(first)
    await memory.take(other, 100)
    assert memory.held == 100


async def test_small_models_that_are_made_every_5_s_keep_no_memory_of_a_large_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, passed = time.monotonic, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: clock() + passed)
    monkeypatch.setattr(ROOMS, "_rooms", [])  # without what other tests have left
    memory, large, small = Budget(2**30), Holder(Budget(0)), Holder(Budget(0))
    total = Total(LEAST)
    memory.spare(large, total.nbytes)
    del total
    memory.give(large)
    for _ in range(5):
        assert ROOMS.nbytes == (8 * LEAST if passed < 2 * REST else 0)
        passed += 5
        memory.spare(small, 100)
        memory.give(small)
        for _ in range(3):  # turns in which the loop's timers see the time
            await asyncio.sleep(0)
