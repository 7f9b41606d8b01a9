"""What counts of an update, and what it weighs: by what the machine has accepted, and by the round that takes it."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from fedk.rounds.clients import Offer, Receipt
from fedk.rounds.making import Making
from fedk.state import tables as t
from fedk.testing.site import Play, site

ENDS = {"session.finished", "session.failed"}


async def test_async_an_update_that_comes_while_its_round_is_closed_is_as_old_as_the_next_one_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first closes round 1; the second arrives while that is written down, and is accepted into round 2."""
    offers: dict[str, Offer] = {}
    offered = asyncio.Event()
    async with site(tmp_path / "data") as here:
        players, write = here.players, here.store.write

        def move(offer: Offer) -> Play:
            offers[offer.client] = offer
            if len(offers) == 2:
                offered.set()
            return Play(silent=True)

        a, b = await players.join("a", move), await players.join("b", move)
        rules: dict[str, Any] = {
            "mode": "async",
            "async": {"buffer": 1},
            "aggregator": {"use": "fedasync"},
            "rounds": 2,
        }
        await here.start(until="round.open", validation={"every": 0}, **rules)
        await offered.wait()
        second: list[asyncio.Task[Any]] = []

        async def written(*args: Any, **more: Any) -> None:
            await write(*args, **more)
            if not second:
                second.append(asyncio.create_task(players.answer(offers[b])))
                await asyncio.sleep(0)

        monkeypatch.setattr(type(here.store), "write", lambda _, *args, **more: written(*args, **more))
        with here.desk.feed.listen() as listener:
            await players.answer(offers[a])
            await second[0]
            async for event in listener:
                if event.type == "session.finished":
                    break
        m, c, r, k = t.models.c, t.contributions.c, t.results.c, t.tasks.c
        joined = (
            t.contributions.join(t.models, c.model == m.id)
            .join(t.results, c.task == r.task)
            .join(t.tasks, k.id == r.task)
        )
        query = select(m.round, k.client, r.staleness, r.weight).select_from(joined).order_by(m.round)
        async with here.store.reading() as db:
            found = [tuple(row) for row in await db.execute(query)]
    assert found == [(1, a, 0, 0.6), (2, b, 1, pytest.approx(0.6 * 2**-0.5))]


@pytest.mark.parametrize("again", ["delivered", "reported"])
async def test_a_result_that_comes_twice_at_the_same_moment_counts_as_it_came_first(again: str, tmp_path: Path) -> None:
    """Its client has moved and delivers again, and perhaps the combiner that held it before is back and reports it."""
    offers: dict[str, Offer] = {}
    offered = asyncio.Event()
    async with site(tmp_path / "data") as here:
        players = here.players

        def move(offer: Offer) -> Play:
            offers[offer.client] = offer
            if len(offers) == 3:
                offered.set()
            return Play(silent=True)

        a, *others = [await players.join(name, move) for name in "abc"]
        await here.start(until="round.open", validation={"every": 0}, clients={"min": 3}, rounds=1)
        await offered.wait()
        with here.desk.feed.listen() as listener:
            first = players.arrival(offers[a], Play())
            delivered = [asyncio.create_task(players.door.take(first))]
            await asyncio.sleep(0)
            if again == "delivered":
                delivered.append(asyncio.create_task(players.door.take(first)))
            else:
                noted = asyncio.get_running_loop().create_future()
                assert players.door.note(replace(first, span=None, via=("east.1",)), "east.1", noted)
            said = await asyncio.gather(*delivered)
            for client in others:
                await players.answer(offers[client])
            end = await anext(event.type async for event in listener if event.type in ENDS)
        assert said == [Receipt(first.task, first.result_id)] * len(delivered)
        assert end == "session.finished"
        m, c, r = t.models.c, t.contributions.c, t.results.c
        joined = t.contributions.join(t.models, c.model == m.id).join(t.results, c.task == r.task)
        query = select(r.holder, c.via).select_from(joined).where(m.round == 1)
        async with here.store.reading() as db:
            assert [tuple(row) for row in await db.execute(query)] == [("root", "root")] * 3


async def test_a_session_hears_of_a_fault_that_nobody_has_thought_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would wait for its model for ever."""
    async with site(tmp_path / "data") as here:
        for name in "ab":
            await here.players.join(name)
        monkeypatch.setattr(Making, "finish", lambda *_: 1 / 0)
        found = await here.start(until="session.failed")
    assert found["why"] == "a fault of this server: ZeroDivisionError division by zero"
