"""What combiners say to a root, without a wire."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fedk.catalogue.gates import Gates
from fedk.rounds.clients import Joining, Verdict
from fedk.rounds.combiners import Combiner
from fedk.testing.site import site


async def test_of_a_settled_result_that_a_combiner_has_lost_its_client_is_told_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The combiner was told of many at once, and does not know whose this one was."""
    async with site(tmp_path / "data") as here:
        await here.tier.attach(east := Combiner("east", "1", ("east:1",)))
        a, _ = [await here.players.join(name) for name in "ab"]
        found = await here.start(until="session.finished", rounds=1, validation={"every": 0})
        said = asyncio.get_running_loop().create_future()
        monkeypatch.setattr(type(here.players), "reply", lambda _, *words: said.set_result(words))
        tasks = [f"{found['id']}-{n}" for n in (1, 2)]
        here.tier.lost(east, [task for task in tasks if await here.players.door.answer(a, task, "r1") == verdict(task)])
        assert await said == (a, verdict((await said)[1].task))


async def test_a_client_whose_combiner_has_gone_before_it_was_admitted_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go = asyncio.Event(), asyncio.Event()

    async def slow(_gates: Gates, _client: object) -> None:
        reached.set()
        await go.wait()

    async with site(tmp_path / "data") as here:
        await here.tier.attach(east := Combiner("east", "1", ("east:1",)))
        monkeypatch.setattr(Gates, "admit", slow)
        joining = asyncio.create_task(here.tier.join(east, Joining("default", "a", "a-1", {}, ("train",), (), "")))
        await reached.wait()
        here.tier.detached(east)
        go.set()
        member = here.runner.roster.get((await joining).client)
        assert member is not None
        assert member.state == "lost"


def verdict(task: str) -> Any:
    return Verdict(task, "r1", "committed", "digits-1/1")
