"""A batch that fails, one whose outcome nobody knows, and one of many sessions."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kernel.tests.rounds.test_step import inserts

from fedk.aggregation.intake import Place
from fedk.api.errors import StateError
from fedk.rounds import batch
from fedk.rounds.clients import Arrival, Offer, Receipt, Reply, Verdict
from fedk.rounds.folds import Folds
from fedk.rounds.ledger import Writes
from fedk.rounds.runner import _each
from fedk.state import tables as t
from fedk.state.store import Store
from fedk.testing.site import Play, Players, Site, site


def uploaded(here: Site, arrival: Arrival) -> Arrival:
    """The same result in a file of its own, which its client has sent or finds there."""
    assert arrival.span is not None
    assert arrival.span.memory is not None
    data, live = bytes(arrival.span.memory), here.runner.live_of(arrival.task)
    here.runner.spool.forget(arrival.span)
    assert live is not None
    upload = here.runner.spool.upload(live.state.id, arrival.task, arrival.result_id, len(data))
    if not upload.got:
        upload.write(data)
    upload.close()
    place = Place(0, len(data), arrival.sha256)
    return replace(arrival, span=upload.span, blobs={"model": place})


async def test_an_upload_whose_transaction_failed_stays_for_its_client_to_go_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be sent again, into the same file, before the failed batch is cleared away."""
    write, failures, offers = Store.write, [1], asyncio.Queue[Offer]()

    async def failing(store: Store, work: Any, **more: Any) -> Any:
        if t.results not in inserts(work) or not failures:
            return await write(store, work, **more)
        failures.pop()
        if (after := more.get("after")) is not None:
            after.close()
        raise StateError("the disk is full")

    def keeps(offer: Offer) -> Play:
        offers.put_nowait(offer)
        return Play(silent=True)

    async with asyncio.timeout(30), site(tmp_path / "data") as here:
        monkeypatch.setattr(Store, "write", failing)
        await here.players.join("a", keeps)
        await here.start(until="round.open", clients={"min": 1}, rounds=1, validation={"every": 0})
        offer = await offers.get()
        arrival = uploaded(here, here.players.arrival(offer, Play()))
        with pytest.raises(StateError):
            await here.players.door.take(arrival)
        again = uploaded(here, here.players.arrival(offer, Play()))
        with here.desk.feed.listen() as listener:
            said = await here.players.door.take(again)
            assert isinstance(said, Receipt | Verdict)
            async for event in listener:
                if event.type in ("session.finished", "session.failed"):
                    break
        assert event.type == "session.finished"
        assert here.runner.spool.used("default") == 0


async def test_a_result_of_a_commit_of_unknown_outcome_is_told_its_verdict_and_not_called_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, lost, called_off, told = Store.write, list[bool](), list[str](), list[Reply]()

    async def unheard(store: Store, work: Any, **more: Any) -> Any:
        written = inserts(work)
        found = await write(store, work, **more)
        if t.models in written and t.results in written and not lost:
            lost.append(True)
            raise StateError("the connection broke before the database answered")
        return found

    monkeypatch.setattr(Players, "cancel", lambda _, __, task, ___: called_off.append(task))
    monkeypatch.setattr(Players, "reply", lambda _, __, reply, ___=(): told.append(reply))
    async with site(tmp_path / "data") as here:
        monkeypatch.setattr(batch, "SOON", 60.0)
        monkeypatch.setattr(Store, "write", unheard)
        for name in "ab":
            await here.players.join(name, Play())
        await here.start(until="session.finished", clients={"min": 2}, rounds=1, validation={"every": 0})
    assert lost
    assert not called_off
    assert {reply.outcome for reply in told if isinstance(reply, Verdict)} == {"committed"}


async def test_models_of_all_rounds_that_a_batch_closes_are_waited_for_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, both, begun = Folds.made, asyncio.Event(), list[str]()

    async def together(folds: Folds, live: Any, action: Any) -> Any:
        if action.token.round == 1:
            begun.append(live.name)
            if len(begun) == 2:
                both.set()
            await both.wait()
        return await made(folds, live, action)

    offers = asyncio.Queue[Offer]()

    def keeps(offer: Offer) -> Play:
        offers.put_nowait(offer)
        return Play(silent=True)

    async with site(tmp_path / "data") as here:
        monkeypatch.setattr(batch, "SOON", 60.0)
        monkeypatch.setattr(Folds, "made", together)
        await here.players.join("a", keeps)
        for name in ("one", "two"):
            await here.start(name, until="round.open", clients={"min": 1}, rounds=1, validation={"every": 0})
        tasks = [await offers.get(), await offers.get()]
        async with asyncio.timeout(30), here.runner._turn:  # both results come while a batch is written
            taking = [asyncio.create_task(here.players.answer(offer)) for offer in tasks]
            await asyncio.sleep(0)
        await asyncio.gather(*taking)
        assert (await here.get("sessions/one"))["status"] == (await here.get("sessions/two"))["status"] == "finished"
    assert sorted(begun) == ["one", "two"]


def test_sessions_of_one_name_in_two_projects_have_a_row_each() -> None:
    writes = Writes()
    writes.session("digits", {"id": "x-1", "head_round": 3}, 7)
    writes.session("digits", {"id": "y-1", "status": "paused"}, 2)
    writes.session("digits", {"id": "x-1", "next_task": 9}, 8)
    assert {key: (one.row, one.version) for key, one in writes.sessions.items()} == {
        "x-1": ({"id": "x-1", "head_round": 3, "next_task": 9}, 7),
        "y-1": ({"id": "y-1", "status": "paused"}, 2),
    }


def test_a_file_that_cannot_be_closed_leaves_the_others_to_be(caplog: pytest.LogCaptureFixture) -> None:
    closed = list[str]()

    def fails() -> None:
        raise OSError("the disk is gone")

    with caplog.at_level(logging.ERROR):
        _each([fails, lambda: closed.append("next")])
    assert closed == ["next"]
    assert "cannot be closed" in caplog.text
