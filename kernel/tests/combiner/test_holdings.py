"""Results that a combiner holds."""

import asyncio
from typing import Any

import pytest
from kernel.tests.combiner.conftest import SESSION, Begin, Middle, arrival, update
from sqlalchemy import Engine, event

from fedk.combiner.holdings import Held
from fedk.rounds.clients import Arrival
from fedk_protocol.codec import Safetensors

TASK = f"{SESSION}-1"


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_result_that_comes_twice_is_held_once(middle: Middle, *, at_once: bool) -> None:
    """Two combiners below forward it, of which each gives away what it holds."""
    data = Safetensors().dumps({"w": update(TASK)})
    puts = [middle.holdings.put(Held(arrival(TASK), middle.spool.append(SESSION, 1, data))) for _ in range(2)]
    if at_once:
        await asyncio.gather(*puts)
    else:
        for put in puts:
            await put
    assert len(middle.holdings.all()) == 1
    assert middle.holdings.bytes == len(data)
    middle.holdings.drop(TASK)
    assert middle.holdings.bytes == 0
    middle.spool.append(SESSION, 2, data)  # the next segment: nothing keeps the first
    assert not [file for file in middle.spool._files.values() if file.round == 1 and file.live]


async def test_results_that_one_word_settles_are_deleted_by_statements_of_1000_values(begin: Begin) -> None:
    """A round may have more than the 32,766 that SQLite takes."""
    middle, most = await begin(), 0
    tasks = [f"{SESSION}-{n}" for n in range(1, 2_501)]

    def count(*about: Any) -> None:
        nonlocal most
        most = max(most, len(about[3]) if not about[5] else 0)

    event.listen(Engine, "before_cursor_execute", count)
    try:
        await asyncio.gather(*[middle.holdings.put(Held(Arrival(t, "c", "r", 1, {}, b"h" * 32), None)) for t in tasks])
        for task in tasks:
            middle.holdings.drop(task)
        await middle.end()
    finally:
        event.remove(Engine, "before_cursor_execute", count)
    assert most == 1_000
    assert (await begin()).holdings.all() == []
