"""What comes while a server waits for its rows, its storage or a thread, and must not be lost by it."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedk.api.errors import StateError
from fedk.app import Hooks
from fedk.rounds import events as ev
from fedk.rounds.clients import Joining, Offer, Receipt
from fedk.rounds.combiners import Combiner
from fedk.rounds.feed import BACKLOG, Feed, Published
from fedk.rounds.folds import Folds
from fedk.rounds.ledger import read_session
from fedk.rounds.live import Base, Live
from fedk.rounds.making import Making
from fedk.rounds.opening import Opener
from fedk.state.store import Store
from fedk.testing.site import Play, Site, site


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path) as found:
        yield found


async def asked(here: Site, **rules: Any) -> Offer:
    """A task at a client that answers nothing by itself."""
    offers = asyncio.Queue[Offer]()

    def keeps(offer: Offer) -> Play:
        offers.put_nowait(offer)
        return Play(silent=True)

    await here.players.join("a", keeps)
    more: dict[str, Any] = {"clients": {"min": 1}, "rounds": 1, "validation": {"every": 0}, **rules}
    await here.start(until="round.open", **more)
    return await offers.get()


class Gate:
    """Stands in a call: `reached` is set when it is made, and it goes on with `go`."""

    def __init__(self) -> None:
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await self.go.wait()


def read_slowly(monkeypatch: pytest.MonkeyPatch, gate: Gate, where: str) -> None:
    restore = Opener.restore

    async def slow_read(db: Any, session: str) -> Any:
        await gate()
        return await read_session(db, session)

    async def slow_restore(opener: Opener, db: Any, live: Any) -> None:
        await gate()
        await restore(opener, db, live)

    if where == "rows":
        monkeypatch.setattr("fedk.rounds.runner.read_session", slow_read)
    else:
        monkeypatch.setattr(Opener, "restore", slow_restore)


@pytest.mark.parametrize("where", ["rows", "models"])
async def test_a_result_that_comes_while_its_session_is_read_again_is_not_lost(
    here: Site, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Its intake has begun before. A verdict would be the last word: its client forgets it."""
    offer = await asked(here)
    arrival, gate = here.players.arrival(offer, Play()), Gate()
    read_slowly(monkeypatch, gate, where)
    again = asyncio.create_task(here.runner.reopen(offer.work.session))
    await gate.reached.wait()
    taking = asyncio.create_task(here.players.door.take(arrival))
    await asyncio.sleep(0)
    gate.go.set()
    await again
    said = await taking
    assert isinstance(said, Receipt) or said.outcome == "committed", said  # type: ignore[union-attr]


async def test_a_failure_that_comes_while_its_session_is_read_again_is_not_lost(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client says it once: the round would wait for the deadline."""
    offer = await asked(here)
    gate = Gate()
    read_slowly(monkeypatch, gate, "rows")
    again = asyncio.create_task(here.runner.reopen(offer.work.session))
    await gate.reached.wait()
    here.players.door.failed(offer.client, offer.task, "raised", "no data")
    gate.go.set()
    await again
    await here.runner.settle(offer.work.session, ev.Pause())
    assert here.runner.lives[offer.work.session].state.tasks[offer.task].state == "settled"


async def test_a_model_in_the_making_survives_that_its_session_is_read_again(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch fails while a thread makes the model, of which files are closed: the session does not fail by it."""
    finish, write, loop = Making._finish, Store.write, asyncio.get_running_loop()
    begun, go, failures = asyncio.Event(), threading.Event(), list[int]()
    first = [True]

    def slow(making: Making, *args: Any) -> Any:
        if first:
            first.pop()
            loop.call_soon_threadsafe(begun.set)
            go.wait(30)
        return finish(making, *args)

    async def failing(store: Store, work: Any, **more: Any) -> Any:
        if not failures:
            return await write(store, work, **more)
        failures.pop()
        if (after := more.get("after")) is not None:
            after.close()
        raise StateError("the disk is full")

    monkeypatch.setattr(Folds, "soon", lambda *_: False)
    monkeypatch.setattr(Making, "_finish", slow)
    monkeypatch.setattr(Store, "write", failing)
    offer = await asked(here)
    with here.desk.feed.listen() as listener:
        taken = await here.players.door.take(here.players.arrival(offer, Play()))
        assert isinstance(taken, Receipt)
        await begun.wait()
        failures.append(1)
        with pytest.raises(StateError):
            await here.desk.pause(offer.work.session)
        async with here.runner._turn:  # it is read again
            pass
        go.set()
        async for event in listener:
            if event.type in ("session.finished", "session.failed"):
                assert event.type == "session.finished", event.body
                break


async def test_of_two_sessions_that_are_created_at_once_each_gets_a_name(here: Site) -> None:
    answers = await asyncio.gather(*(here.rest.post("/api/v1/sessions", json={"rounds": 1}) for _ in range(3)))
    assert [answer.status_code for answer in answers] == [201] * 3


async def test_of_two_sessions_of_one_name_that_are_created_at_once_one_is_told_so(here: Site) -> None:
    body = {"name": "digits", "rounds": 1}
    answers = await asyncio.gather(*(here.rest.post("/api/v1/sessions", json=body) for _ in range(2)))
    assert sorted(answer.status_code for answer in answers) == [201, 409]


async def test_who_has_come_back_is_there_though_its_first_coming_could_not_be_written(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, gate, failures = Store.write, Gate(), [1]

    async def failing(store: Store, work: Any, **more: Any) -> Any:
        if not failures:
            return await write(store, work, **more)
        failures.pop()
        await gate()
        raise StateError("the disk is full")

    monkeypatch.setattr(Store, "write", failing)
    door = here.players.door
    first = asyncio.create_task(door.join(Joining("default", "a", "i1", {}, ("train",), (), "")))
    await gate.reached.wait()
    second = asyncio.create_task(door.join(Joining("default", "a", "i2", {}, ("train",), (), ""), "east.1"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gate.go.set()
    with pytest.raises(StateError):
        await first
    joined = await second
    member = here.runner.roster[joined.client]
    assert (member.instance, member.state) == ("i2", "connected")


async def test_a_listener_that_comes_after_the_end_of_the_feed_hears_its_end() -> None:
    feed = Feed()
    feed.close()
    with feed.listen() as listener:
        hearing = asyncio.create_task(anext(aiter(listener), None))
        for _ in range(3):
            await asyncio.sleep(0)
        assert hearing.done()


async def test_hooks_go_on_hearing_after_more_events_than_a_listener_may_be_behind(here: Site) -> None:
    """One transaction tells of each of 10,000 clients that come at once."""
    hooks, heard = Hooks(here.catalogue, here.settings), list[str]()

    class Told:
        """As `Observers`."""

        def start(self) -> None:
            """It has begun."""

        def notify(self, _hook: str, *, event: Any, but: str = "") -> None:
            heard.append(event.type)

        async def close(self) -> None:
            """As above."""

    hooks.observers, feed = Told(), Feed()  # type: ignore[assignment]
    hooks.listen(feed)
    await asyncio.sleep(0)
    feed.publish([Published(n, "default", None, "client.joined", {}, 0.0) for n in range(1, BACKLOG + 2)])
    for _ in range(3):
        await asyncio.sleep(0)
    feed.publish([Published(BACKLOG + 2, "default", "s1", "session.finished", {}, 0.0)])
    feed.close()
    await hooks.close()
    assert heard[-1] == "session.finished"


async def test_a_result_that_a_combiner_gives_is_none_of_those_that_arrive(here: Site) -> None:
    """Or each last result of a round would wait for company that never comes."""
    await here.tier.attach(east := Combiner("east", "1", ("east:1",)))
    offer = await asked(here, clients={"min": 1}, rounds=5)
    live = here.runner.lives[offer.work.session]
    arrival = here.players.arrival(offer, Play())
    await here.players.door.take(replace(arrival, span=None), east.id)  # its bytes are there
    await here.tier.forwarded(east, arrival)
    async with here.runner._turn:
        pass
    assert live.arrived == 0


async def test_the_bytes_of_a_result_that_came_too_late_go_though_its_call_is_cancelled(here: Site) -> None:
    offer = await asked(here, clients={"min": 1}, round={"retries": 5})
    door, arrival = here.players.door, here.players.arrival(offer, Play())
    door.failed(offer.client, offer.task, "raised", "")  # in one batch with its result
    taking = asyncio.create_task(door.take(arrival))
    await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait({taking})
    await here.runner.settle(offer.work.session, ev.Pause())
    assert here.runner.spool.used("default") == 0


async def test_the_bytes_of_a_result_that_is_handed_on_too_late_go(here: Site) -> None:
    await here.tier.attach(east := Combiner("east", "1", ("east:1",)))
    offer = await asked(here, clients={"min": 1}, rounds=5)
    arrival = here.players.arrival(offer, Play())
    assert isinstance(await here.players.door.take(replace(arrival, span=None), east.id), Receipt)
    here.runner.post(offer.work.session, ev.HolderLost(east.id))  # in one batch with its bytes
    await here.tier.forwarded(east, arrival)
    assert here.runner.spool.used("default") == 0


async def test_an_upload_whose_call_is_cancelled_while_a_gate_is_asked_goes_with_its_task(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = await asked(here, clients={"min": 1}, round={"retries": 5})
    door, gate, spool = here.players.door, Gate(), here.runner.spool
    arrival = here.players.arrival(offer, Play())
    assert arrival.span is not None
    data = bytes(arrival.span.memory or b"")
    spool.forget(arrival.span)
    upload = spool.upload(offer.work.session, offer.task, "r1", len(data))
    upload.write(data)
    upload.close()

    async def judge(*_: Any) -> None:
        await gate()

    monkeypatch.setattr(door, "_judge", judge)
    taking = asyncio.create_task(door.take(replace(arrival, span=upload.span)))
    await gate.reached.wait()
    taking.cancel()
    await asyncio.wait({taking})
    door.failed(offer.client, offer.task, "raised", "")
    await here.runner.settle(offer.work.session, ev.Pause())
    assert spool.used("default") == 0


async def stopped_at(here: Site, gate: Gate) -> str:
    """A session whose model is being made, up to the gate, as it is stopped; the gate is open then."""
    offer = await asked(here)
    await here.players.door.take(here.players.arrival(offer, Play()))
    await gate.reached.wait()
    await here.desk.stop(offer.work.session)
    await here.collected()
    gate.go.set()
    return offer.work.session


async def test_a_model_that_is_made_after_its_session_was_stopped_lets_go_of_its_bytes(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_base, gate, made = Opener.base, Gate(), asyncio.Event()

    async def slow(opener: Opener, live: Live, no: int, *args: Any, **more: Any) -> Base:
        if no:
            await gate()
            made.set()
        return await open_base(opener, live, no, *args, **more)

    monkeypatch.setattr(Folds, "soon", lambda *_: False)
    monkeypatch.setattr(Opener, "base", slow)
    session = await stopped_at(here, gate)
    await made.wait()
    await asyncio.gather(*here.runner._working)
    await here.runner.settle(session, ev.Pause())  # a batch with what was made, or after it
    assert not here.blobs._holds._held


async def test_a_session_that_is_stopped_while_its_model_is_made_is_no_fault_of_the_server(
    here: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    committed, gate = Folds._committed, Gate()

    async def slow(folds: Folds, *args: Any) -> Any:
        await gate()
        return await committed(folds, *args)

    monkeypatch.setattr(Folds, "soon", lambda *_: False)
    monkeypatch.setattr(Folds, "_committed", slow)
    await stopped_at(here, gate)
    await asyncio.gather(*here.runner._working)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
