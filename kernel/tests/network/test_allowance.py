"""Bytes of results that may be in memory at once."""

import asyncio

from fedk.network.allowance import Allowance


async def turns() -> None:
    """Let every task that can go on go on."""
    for _ in range(5):
        await asyncio.sleep(0)  # hands over, does not wait


async def test_what_fits_is_taken_at_once() -> None:
    allowance = Allowance(100)
    await allowance.take(60)
    await allowance.take(40)


async def test_the_next_waits_until_enough_is_given_back() -> None:
    allowance = Allowance(100)
    await allowance.take(60)
    await allowance.take(40)
    waiting = asyncio.create_task(allowance.take(50))
    allowance.give(40)
    await turns()
    assert not waiting.done()
    allowance.give(60)
    await waiting


async def test_who_waits_is_told_of_and_again_while_others_still_wait() -> None:
    told: list[str] = []
    allowance = Allowance(100, short=lambda: told.append("short"))

    async def taken(name: str) -> None:
        await allowance.take(60)
        told.append(name)

    async with asyncio.TaskGroup() as group:
        for name in ("first", "second", "third"):
            group.create_task(taken(name))
        await turns()
        assert told == ["first", "short", "short"]
        allowance.give(60)
        await turns()
        assert told[3:] == ["second", "short"]
        allowance.give(60)
    assert told[5:] == ["third"]


async def test_what_is_larger_than_all_waits_until_nothing_else_is_held() -> None:
    allowance = Allowance(100)
    await allowance.take(1)
    waiting = asyncio.create_task(allowance.take(1_000))
    await turns()
    assert not waiting.done()
    allowance.give(1)
    await waiting


async def test_first_come_first_served() -> None:
    allowance = Allowance(100)
    await allowance.take(80)
    large = asyncio.create_task(allowance.take(90))
    small = asyncio.create_task(allowance.take(10))
    await turns()
    assert not small.done()
    allowance.give(80)
    await asyncio.gather(large, small)


async def test_who_gives_up_waiting_lets_the_next_one_through() -> None:
    allowance = Allowance(100)
    await allowance.take(80)
    large = asyncio.create_task(allowance.take(90))
    small = asyncio.create_task(allowance.take(10))
    await turns()
    large.cancel()
    await small


async def test_who_gives_up_as_its_turn_comes_holds_nothing() -> None:
    allowance = Allowance(100)
    await allowance.take(100)
    waiting = asyncio.create_task(allowance.take(100))
    await turns()
    allowance.give(100)
    waiting.cancel()
    await asyncio.wait({waiting})
    await allowance.take(100)
