"""What combiners say to a root, without a wire."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedk.api.errors import PluginError, StateError
from fedk.app import Aggregators
from fedk.catalogue.gates import Gates
from fedk.rounds import batch
from fedk.rounds import events as ev
from fedk.rounds.clients import Joining, Offer, Reply, Verdict
from fedk.rounds.combiners import Combiner
from fedk.rounds.live import Summed
from fedk.state.store import Store
from fedk.testing.site import Move, Play, Players, site


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


async def test_a_sum_that_comes_again_while_it_is_written_in_vain_is_asked_for_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sender's stream breaks, and the transaction that it is in fails after that."""
    offers, refolds = asyncio.Queue[Offer](), asyncio.Queue[int]()
    write, failures, begun, go = Store.write, list[int](), asyncio.Event(), asyncio.Event()

    def keeps(offer: Offer) -> Play:
        offers.put_nowait(offer)
        return Play(silent=True)

    async def failing(store: Store, work: Any, **more: Any) -> Any:
        if not failures:
            return await write(store, work, **more)
        failures.pop()
        begun.set()
        await go.wait()
        raise StateError("the disk is full")

    monkeypatch.setattr(Store, "write", failing)
    monkeypatch.setattr(Players, "refold", lambda _, __, ___, number, ____: refolds.put_nowait(number))
    async with asyncio.timeout(30), site(tmp_path / "data") as here:
        await here.tier.attach(east := Combiner("east", "1", ("east:1",)))
        for name in "ab":
            await here.players.join(name, keeps)
        await here.start(until="round.open", clients={"min": 2}, validation={"every": 0})
        arrival = here.players.arrival(offer := await offers.get(), Play())
        await here.players.door.take(replace(arrival, span=None), east.id)
        assert arrival.span is not None
        session, tasks = offer.work.session, frozenset({offer.task})
        summed = Summed(f"{east.id}#1", 1, tasks, arrival.span, arrival.blobs, raw=True, total="")
        failures.append(1)
        first = asyncio.create_task(here.tier.partial(east, 1, summed, session))
        await begun.wait()
        assert here.tier.wants(east, session, 1) is None
        here.tier.again(east, session, 1)
        go.set()
        with pytest.raises(StateError):
            await first
        assert await refolds.get() == 1
        assert here.runner.broken is not None
        assert not here.runner.broken.done()


async def test_a_result_of_an_earlier_round_that_is_lost_in_the_batch_that_closes_one_gets_its_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drain of its combiner is heard with its loss, and the model of that round is made in the same batch."""
    offers, told = {name: asyncio.Queue[Offer]() for name in "abc"}, list[Reply]()

    def keeps(name: str) -> Move:
        def move(offer: Offer) -> Play:
            offers[name].put_nowait(offer)
            return Play(silent=True)

        return move

    monkeypatch.setattr(batch, "SOON", 60.0)
    monkeypatch.setattr(Players, "reply", lambda _, __, reply, ___=(): told.append(reply))
    async with asyncio.timeout(30), site(tmp_path / "data") as here:
        await here.tier.attach(east := Combiner("east", "1", ("east:1",)))
        clients = {name: await here.players.join(name, keeps(name)) for name in "abc"}
        rules: dict[str, Any] = {"mode": "async", "async": {"buffer": 2}, "rounds": 3, "validation": {"every": 0}}
        await here.start(until="round.open", aggregator={"use": "fedbuff"}, **rules)
        early = {name: await offers[name].get() for name in "bc"}
        session = early["b"].work.session
        for _ in range(2):
            await here.players.answer(await offers["a"].get())
        third = await offers["a"].get()
        assert here.runner.lives[session].state.head == 1
        await here.players.door.take(replace(here.players.arrival(early["b"], Play()), span=None), east.id)
        async with here.runner._turn:
            closing = [asyncio.create_task(here.players.answer(offer)) for offer in (third, early["c"])]
            await asyncio.sleep(0)
            here.runner.post(session, ev.Draining(east.id))
            here.runner.post(session, ev.Gone(clients["b"]))
            here.runner.post(session, ev.HolderLost(east.id))
        await asyncio.gather(*closing)
        live = here.runner.lives[session]
        assert live.state.head == 2
        lost = [reply for reply in told if isinstance(reply, Verdict) and reply.task == early["b"].task]
        assert [(reply.outcome, reply.reason) for reply in lost] == [("rejected", "holder-lost")]
        assert early["b"].task not in live.taken


async def test_an_update_that_is_reported_while_its_plugin_is_missing_is_weighed_once_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offers, aggregators, away = asyncio.Queue[Offer](), Aggregators.__call__, list[bool]()

    def keeps(offer: Offer) -> Play:
        offers.put_nowait(offer)
        return Play(silent=True)

    def loaded(found: Aggregators, rules: Any) -> Any:
        if away:
            raise PluginError("fedavg is not installed")
        return aggregators(found, rules)

    monkeypatch.setattr(Aggregators, "__call__", loaded)
    async with asyncio.timeout(30), site(tmp_path / "data") as here:
        await here.tier.attach(east := Combiner("east", "1", ("east:1",)))
        for name in "ab":
            await here.players.join(name, keeps)
        await here.start(until="round.open", clients={"min": 2}, validation={"every": 0})
        offer = await offers.get()
        session, arrival = offer.work.session, replace(here.players.arrival(offer, Play(examples=7)), span=None)
        here.runner.roster[offer.client].holder = east.id
        away.append(True)
        with pytest.raises(PluginError):
            await here.runner.reopen(session)
        here.tier.report(east, [arrival])
        await here.runner.settle(session, ev.Pause())
        away.clear()
        await here.runner.reopen(session)
        assert here.runner.lives[session].state.tasks[offer.task].open
        here.tier.report(east, [arrival])
        await here.runner.settle(session, ev.Pause())
        terms = here.runner.lives[session].taken[offer.task].terms
        assert terms is not None
        assert terms.weight == 7.0
