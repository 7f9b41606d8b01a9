"""Gates where they are asked: joining, selection, settings, an update's arrival."""

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fedk.api.errors import Refused
from fedk.api.hooks import ClientFacts, SessionFacts, Update, hookimpl
from fedk.catalogue.gates import Gates
from fedk.catalogue.hooks import Enabled
from fedk.catalogue.implementation import implementations
from fedk.catalogue.tally import Tally
from fedk.rounds.clients import Offer
from fedk.testing.site import Play, Site, site


def gates(made: Any, name: str = "guard", *, seconds: float = 10.0) -> Gates:
    functions = implementations(name, made)
    return Gates([Enabled(name, name, "1.0", functions, Tally(), lambda *_: None)], seconds=seconds)


async def paused(here: Site, name: str = "digits-1", **rules: Any) -> Any:
    return await here.start(name, until="session.paused", **rules)


async def test_what_a_gate_writes_into_what_it_is_shown_is_its_own(tmp_path: Path) -> None:
    """Models are replayed by the rules, and the trail has the metrics."""
    seen: list[Any] = []

    class Guard:
        @hookimpl
        def update_received(self, session: SessionFacts, update: Update) -> None:
            seen.append(json.dumps(session.rules))
            for shown in (session.rules.get("clients"), session.rules, update.metrics):
                assert isinstance(shown, dict)
                shown.clear()

    async with site(tmp_path, gates=gates(Guard())) as here:
        await here.players.join("a", Play(loss=0.5))
        rules: dict[str, Any] = {"rounds": 2, "clients": {"min": 1}, "validation": {"every": 0}}
        assert (await here.start(until="session.finished", **rules))["status"] == "finished"
        assert seen[0] == seen[1]
        trail = await here.get("sessions/digits-1/trail")
        assert [model["metrics"] for model in trail["models"][1:]] == [{"train.loss": 0.5}] * 2


async def test_a_client_that_a_gate_vetoes_does_not_join(tmp_path: Path) -> None:
    class Guard:
        @hookimpl
        def client_joining(self, client: ClientFacts) -> str | None:
            return None if client.attributes.get("site") == "north" else "only the north today"

    async with site(tmp_path, gates=gates(Guard())) as here:
        await here.players.join("a", site="north")
        with pytest.raises(Refused) as refused:
            await here.players.join("b", site="south")
        assert refused.value.reason == "gate-failed"
        assert refused.value.detail == 'hook "guard" does not allow it: only the north today'
        assert [client["name"] for client in (await here.get("clients"))["clients"]] == ["a"]


async def test_only_clients_that_the_gate_admits_are_asked_and_the_veto_is_recorded_with_its_plugin(
    tmp_path: Path,
) -> None:
    seen: list[tuple[str, int, list[str]]] = []

    class Guard:
        @hookimpl
        async def clients_selected(
            self, session: SessionFacts, clients: Sequence[ClientFacts]
        ) -> Collection[str] | None:
            seen.append((session.name, session.round, [client.name for client in clients]))
            return {"a", "c"}

    asked: list[str] = []

    def move(offer: Offer) -> Play:
        asked.append(offer.client)
        return Play()

    async with site(tmp_path, gates=gates(Guard())) as here:
        ids = {name: await here.players.join(name, move) for name in "abc"}
        rules: dict[str, Any] = {
            "rounds": 1,
            "clients": {"min": 2},
            "round": {"quorum": 0.5},
            "validation": {"every": 0},
        }
        with here.desk.feed.listen() as listener:
            found = await here.start(until="session.finished", **rules)
        assert found["status"] == "finished"
        assert set(asked) == {ids["a"], ids["c"]}
        assert (*seen[0][:2], sorted(seen[0][2])) == ("digits-1", 1, ["a", "b", "c"])  # drawn in any order
        listener.close()
        vetoed = [event async for event in listener if event.type == "clients.vetoed"]
        assert (vetoed[0].body["clients"], vetoed[0].body["plugins"]) == (["b"], ["guard"])


async def test_a_gate_that_fails_in_selection_pauses_the_session_and_it_can_go_on(tmp_path: Path) -> None:
    class Guard:
        broken = True

        @hookimpl
        def clients_selected(self) -> None:
            if self.broken:
                raise ValueError("no register")

    guard = Guard()
    async with site(tmp_path, gates=gates(guard)) as here:
        await here.players.join("a")
        found = await paused(here, rounds=1, clients={"min": 1}, validation={"every": 0})
        assert found["why"] == 'hook "guard": clients_selected failed: ValueError: no register'
        guard.broken = False
        with here.desk.feed.listen() as listener:
            await here.desk.resume(found["id"])
            assert await until(listener, "session.finished")


async def test_a_gate_that_fails_in_the_last_validations_selection_pauses_too_and_it_can_go_on(tmp_path: Path) -> None:
    class Guard:
        calls = 0

        @hookimpl
        def clients_selected(self) -> None:
            self.calls += 1
            if self.calls == 2:
                raise ValueError("no register")

    async with site(tmp_path, gates=gates(Guard())) as here:
        await here.players.join("a")
        found = await paused(here, rounds=1, clients={"min": 1}, validation={"every": 1})
        with here.desk.feed.listen() as listener:
            await here.desk.resume(found["id"])
            assert await until(listener, "session.finished")


async def test_settings_that_a_gate_adds_go_to_that_client_alone(tmp_path: Path) -> None:
    class Guard:
        @hookimpl
        def client_settings(self, client: ClientFacts, settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
            return {"epochs": settings["epochs"] + 1} if client.name == "a" else None

    got: dict[str, Any] = {}

    def move(offer: Offer) -> Play:
        got[offer.client] = json.loads(offer.work.settings)
        return Play()

    async with site(tmp_path, gates=gates(Guard())) as here:
        ids = {name: await here.players.join(name, move) for name in "ab"}
        rules: dict[str, Any] = {
            "rounds": 1,
            "clients": {"min": 2},
            "client_settings": {"epochs": 5},
            "validation": {"every": 0},
        }
        await here.start(until="session.finished", **rules)
        assert got == {ids["a"]: {"epochs": 6}, ids["b"]: {"epochs": 5}}


async def test_a_gate_that_fails_for_settings_pauses_the_session_with_its_name(tmp_path: Path) -> None:
    class Guard:
        @hookimpl
        def client_settings(self) -> Mapping[str, Any] | None:
            return {"when": object()}

    async with site(tmp_path, gates=gates(Guard())) as here:
        await here.players.join("a")
        found = await paused(here, rounds=1, clients={"min": 1})
        assert found["why"].startswith('hook "guard": client_settings returned dict: it returns a mapping')


@pytest.mark.parametrize("fault", ["veto", "raise", "hang"])
async def test_an_update_that_a_gate_does_not_let_in_is_refused_and_the_round_goes_on(
    tmp_path: Path, fault: str
) -> None:
    class Guard:
        @hookimpl
        async def update_received(self, client: ClientFacts, update: Update) -> str | None:
            if client.name != "a":
                return None
            if fault == "hang":
                await asyncio.Event().wait()
            if fault == "raise":
                raise ValueError("no register")
            return f"a norm of {update.norm:g} is odd"

    async with site(tmp_path, gates=gates(Guard(), seconds=1.0)) as here:
        for name in "abc":
            await here.players.join(name)
        rules: dict[str, Any] = {
            "rounds": 1,
            "clients": {"min": 2},
            "round": {"quorum": 0.5},
            "validation": {"every": 0},
        }
        with here.desk.feed.listen() as listener:
            found = await here.start(until="session.finished", **rules)
        listener.close()
        refused = [event.body async for event in listener if event.type == "update.refused"]
        assert found["status"] == "finished"
        assert {(body["client"], body["reason"]) for body in refused} == {("a", "gate-failed")}
        assert 'hook "guard"' in refused[0]["detail"]


async def until(listener: Any, type_: str) -> bool:
    async for event in listener:
        if event.type == type_:
            return True
    return False
