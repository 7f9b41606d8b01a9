"""Rules that a person changes: models are made with those that stand in the rows."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fedk.api.errors import ConfigError, Conflict
from fedk.rounds import events as ev
from fedk.rounds.clients import Offer
from fedk.testing.site import Play, Players, Site, site

FASTER = {"aggregator.fedadam": {"learning_rate": 7.0}}


@dataclass(frozen=True, slots=True)
class Paused:
    """A session that is paused with a task at its one client."""

    here: Site
    id: str
    offers: "asyncio.Queue[Offer]"

    async def answered(self) -> None:
        """The result is accepted: whoever takes the session up closes its round."""
        await self.here.players.answer(self.offers.get_nowait(), Play(add=0.5))

    async def made(self) -> str:
        """Whether model 1 is what the recorded rules make of its update."""
        return str((await self.here.get("models/digits-1/1/check?replay=true"))["verified"])


@pytest.fixture
async def paused(tmp_path: Path) -> AsyncIterator[Paused]:
    offers = asyncio.Queue[Offer]()

    def keeps(offer: Offer) -> Play:
        offers.put_nowait(offer)
        return Play(silent=True)

    rules: dict[str, Any] = {"rounds": 1, "clients": {"min": 1}, "validation": {"every": 0}, "updates": {"keep": "all"}}
    async with site(tmp_path / "data") as here:
        await here.players.join("a", keeps)
        session = (await here.start(until="round.open", aggregator={"use": "fedadam"}, **rules))["id"]
        offers.put_nowait(await offers.get())
        await here.desk.pause(session)
        yield Paused(here, session, offers)


async def ended(paused: Paused) -> Any:
    """The session, once it has ended."""
    with paused.here.desk.feed.listen() as listener:
        if (await paused.here.get("sessions/digits-1"))["status"] != "finished":
            async for event in listener:
                if event.type in ("session.finished", "session.failed"):
                    assert event.type == "session.finished", event.body
                    break
    return await paused.here.get("sessions/digits-1")


async def test_a_model_is_made_with_the_rules_that_change_in_the_batch_that_closes_its_round(paused: Paused) -> None:
    await paused.answered()
    async with paused.here.runner._turn:
        changing = asyncio.create_task(paused.here.desk.resume(paused.id, FASTER))
        await asyncio.sleep(0)
        paused.here.runner.post(paused.id, ev.Resume())  # somebody else's
    await changing
    found = await ended(paused)
    assert found["rules"]["aggregator"]["fedadam"]["learning_rate"] == 7.0
    assert await paused.made() == "replayed"


async def test_rules_of_a_session_that_somebody_else_takes_up_first_stay_as_they_are(paused: Paused) -> None:
    async with paused.here.runner._turn:
        paused.here.runner.post(paused.id, ev.Resume())
        changing = asyncio.create_task(paused.here.desk.resume(paused.id, FASTER))
        await asyncio.sleep(0)
    with pytest.raises(Conflict, match="session digits-1 went on meanwhile"):
        await changing
    await paused.answered()
    found = await ended(paused)
    assert "fedadam" not in found["rules"]["aggregator"]
    assert await paused.made() == "replayed"


async def test_a_task_of_the_open_round_brings_the_settings_that_were_changed(paused: Paused) -> None:
    first = paused.offers.get_nowait()
    await paused.here.desk.resume(paused.id, {"client_settings.epochs": 3})
    paused.here.players.door.failed(first.client, first.task, "raised", "no data")
    again = await paused.offers.get()
    assert (again.work.round, again.work.settings) == (first.work.round, '{"epochs": 3}')


async def test_bytes_that_moved_before_a_session_is_read_again_are_no_more_than_they_were(
    paused: Paused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Players, "traffic", lambda *_: (700, 300))
    await paused.here.desk.resume(paused.id)
    await paused.here.desk.pause(paused.id)
    await paused.here.runner.reopen(paused.id)
    await paused.answered()
    with paused.here.desk.feed.listen() as listener:
        await paused.here.desk.resume(paused.id)
        async for event in listener:
            if event.type == "round.committed":
                break
    assert (event.body["sent"], event.body["received"]) == (700, 300)


async def test_results_of_the_open_round_are_held_against_the_limits_that_were_changed(paused: Paused) -> None:
    offer = paused.offers.get_nowait()
    await paused.here.desk.resume(paused.id, {"limits.max_examples": 5})
    task = paused.here.players.door.open_task(offer.client, offer.task)
    assert task is not None
    assert task.expected is not None
    assert task.expected.max_examples == 5


@pytest.mark.parametrize("key", ["client_settings", "aggregator.fedavgm"])
async def test_a_key_with_a_thousand_dots_is_refused_and_the_server_goes_on(paused: Paused, key: str) -> None:
    with pytest.raises(ConfigError, match="more than 64 levels of tables in tables"):
        await paused.here.desk.resume(paused.id, {key + ".a" * 1_000: 1})
    await paused.answered()
    await paused.here.desk.resume(paused.id, {"client_settings.epochs": 3})
    assert (await ended(paused))["rules"]["client_settings"] == {"epochs": 3}


@pytest.mark.parametrize("value", [math.inf, [1.0, math.nan]])
async def test_a_number_that_json_lacks_is_no_rule(paused: Paused, value: object) -> None:
    with pytest.raises(ConfigError, match="wants a finite number"):
        await paused.here.desk.resume(paused.id, {"client_settings.lr": value})


async def test_a_rule_that_is_taken_back_has_its_default_again(paused: Paused) -> None:
    before = (await paused.here.get("sessions/digits-1"))["rules"]
    await paused.here.desk.resume(paused.id, {"seed": None, "clients.min": None, "round.min_updates": None})
    after = (await paused.here.get("sessions/digits-1"))["rules"]
    assert (after["seed"], after["clients"]["min"], after["round"]["min_updates"]) == (before["seed"], 2, 1)
