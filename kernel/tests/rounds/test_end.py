"""A runner that ends: whoever waits for what it writes is told so."""

import asyncio
from pathlib import Path

import pytest

from fedk.api.errors import StateError
from fedk.rounds import events as ev
from fedk.rounds.batch import Batch
from fedk.testing.site import Site, site

LONGEST = 10.0
"""Seconds after which somebody waits for ever."""


async def asked(here: Site) -> str:
    async with asyncio.timeout(LONGEST):
        with pytest.raises(StateError) as told:
            await here.runner.settle("nobody", ev.Pause())
    return str(told.value)


async def test_who_waits_hears_of_a_fault_that_ends_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of its batch, those who came meanwhile, and those who come while it is being closed."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def faulty(_: Batch) -> None:
        begun.set()
        await go.wait()
        raise RuntimeError("a fault")

    async with site(tmp_path / "data") as here:
        monkeypatch.setattr(Batch, "decide", faulty)
        first = asyncio.create_task(asked(here))
        await begun.wait()
        second = asyncio.create_task(asked(here))
        await asyncio.sleep(0)
        go.set()
        assert "stopped" in await first
        assert "stopped" in await second
        assert "stopped" in await asked(here)
        assert here.runner.broken is not None
        with pytest.raises(RuntimeError):
            await here.runner.broken


async def test_who_comes_after_its_end_is_told_so(tmp_path: Path) -> None:
    async with site(tmp_path / "data") as here:
        await here.runner.close()
        assert "stopped" in await asked(here)
