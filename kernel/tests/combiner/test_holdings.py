"""Results that a combiner holds."""

import asyncio

import pytest
from kernel.tests.combiner.conftest import SESSION, Middle, arrival, update

from fedk.combiner.holdings import Held
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
