"""One result of a task at a time."""

import asyncio

import pytest

from fedk.network.turns import Turns


async def test_the_second_waits_for_the_first() -> None:
    turns, order = Turns(), []

    async def take(name: str, go: asyncio.Event) -> None:
        async with turns.take("t1"):
            order.append(name)
            await go.wait()

    go = asyncio.Event()
    first = asyncio.create_task(take("first", go))
    second = asyncio.create_task(take("second", go))
    other = turns.take("t2")
    async with other:  # another task's
        await asyncio.sleep(0)  # both have begun
        assert order == ["first"]
        go.set()
        await asyncio.gather(first, second)
    assert order == ["first", "second"]


async def test_one_that_still_reads_is_cut() -> None:
    turns, reading = Turns(), asyncio.Event()

    async def read() -> None:
        async with turns.take("t1") as turn:
            stream = asyncio.create_task(asyncio.Event().wait())
            turn.read(stream)
            reading.set()
            await asyncio.wait({stream})
            assert stream.cancelled()

    older = asyncio.create_task(read())
    await reading.wait()
    async with turns.take("t1"):
        await older


async def test_a_settled_task_cuts_what_reads_for_it_and_what_is_about_to() -> None:
    turns = Turns()
    async with turns.take("t1") as turn:
        turns.give_way("t1")
        turns.give_way("t2")
        stream = asyncio.create_task(asyncio.Event().wait())
        turn.read(stream)
        with pytest.raises(asyncio.CancelledError):
            await stream
