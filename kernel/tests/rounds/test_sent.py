"""State of the aggregator that goes out with tasks: SCAFFOLD's c."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from fedk.api.codec import Safetensors
from fedk.rounds.clients import Offer
from fedk.rounds.opening import INLINE_MAX
from fedk.testing.site import Play, Site, site, weights

PATIENCE = 20
"""Seconds that an offer may take; a longer wait is a fault that the test shows."""


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path) as here:
        yield here


async def first_offer(here: Site, elements: int) -> Offer:
    """What a client is asked in a session that begins with `elements` weights of 0."""
    asked: asyncio.Queue[Offer] = asyncio.Queue()

    def take(offer: Offer) -> Play:
        asked.put_nowait(offer)
        return Play(silent=True)

    await here.players.join("a", take)
    model = await here.put(weights(0.0, elements))
    body = {"name": "s", "model": model, "clients": {"min": 1}, "aggregator": {"use": "scaffold"}}
    assert (await here.rest.post("/api/v1/sessions", json=body)).status_code == 201
    async with asyncio.timeout(PATIENCE):
        return await asked.get()


async def test_small_state_travels_inside_the_task(here: Site) -> None:
    control = (await first_offer(here, 3)).work.inputs["control"]
    assert control.inline is not None
    assert np.array_equal(Safetensors().decode(control.inline)["w"], np.zeros(3))


async def test_large_state_is_a_blob_that_the_client_may_read(here: Site) -> None:
    offer = await first_offer(here, INLINE_MAX)
    control = offer.work.inputs["control"]
    assert control.inline is None
    span = await here.players.door.readable(offer.client, control.sha256)
    assert span.size == control.size > 8 * INLINE_MAX
