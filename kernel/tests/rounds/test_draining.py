"""A combiner that drains: when it is empty, and who is told."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedk.api.errors import Conflict, StateError
from fedk.rounds.clients import Joining, Offer, Present
from fedk.rounds.combiners import Branch, Combiner
from fedk.rounds.feed import Listener, Published
from fedk.state.store import Store
from fedk.testing.site import Play, Site, site


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path / "data") as opened:
        yield opened


def east() -> Combiner:
    return Combiner("east", "1", ("east:1",))


async def attached(here: Site, combiner: Combiner) -> None:
    await here.tier.attach(combiner)
    here.tier.ready(combiner)


async def until(listener: Listener, last: str) -> AsyncIterator[Published]:
    """Events up to that one."""
    async for event in listener:
        yield event
        if event.type == last:
            return


async def next_drained(listener: Listener) -> str:
    """The next combiner that is said to be."""
    *_, last = [event async for event in until(listener, "combiner.drained")]
    return str(last.body["combiner"])


async def connected(here: Site, combiner: Combiner, name: str) -> Present:
    joined = await here.tier.join(combiner, Joining("default", name, f"{name}-1", {}, ("train",), (), "player 1"))
    found = Present(joined.client, f"{name}-1")
    here.tier.here(combiner, [found])
    return found


async def test_it_is_drained_when_its_last_client_is_gone(here: Site) -> None:
    await attached(here, combiner := east())
    there = [await connected(here, combiner, name) for name in "ab"]
    with here.desk.feed.listen() as listener:
        await here.desk.drain_combiner("east")
        waiting = asyncio.create_task(here.desk.drained("east"))
        for one in there:
            assert not waiting.done()
            here.tier.gone(combiner, [one])
        said = [event.type async for event in until(listener, "combiner.drained")]
    await waiting
    assert said == ["combiner.draining", "client.lost", "client.lost", "combiner.drained"]


async def test_what_it_holds_is_to_be_settled_or_here_first(here: Site) -> None:
    await attached(here, combiner := east())
    offered = asyncio.get_running_loop().create_future()

    def move(offer: Offer) -> Play:
        offered.set_result(offer)
        return Play(silent=True)

    await here.players.join("a", move)
    await here.players.join("b", Play(silent=True))
    await here.start(until="round.open", clients={"min": 2}, validation={"every": 0})
    arrival = here.players.arrival(await offered, Play())
    noted = asyncio.get_running_loop().create_future()
    assert here.players.door.note(replace(arrival, span=None), combiner.id, noted)
    await noted
    with here.desk.feed.listen() as listener:
        await here.desk.drain_combiner("east")
        waiting = asyncio.create_task(here.desk.drained("east"))
        await here.players.join("c")
        said = [event.type async for event in until(listener, "client.joined")]
        assert (said, waiting.done()) == (["combiner.draining", "client.joined"], False)
        await here.tier.forwarded(combiner, arrival)
        await waiting


async def test_who_waits_hears_that_it_is_gone_and_once_it_is_back_that_it_is_empty(here: Site) -> None:
    await attached(here, combiner := east())
    there = await connected(here, combiner, "a")
    await here.desk.drain_combiner("east")
    waiting = asyncio.create_task(here.desk.drained("east"))
    await asyncio.sleep(0)
    here.tier.detached(combiner)
    with pytest.raises(
        Conflict, match="combiner east is gone: its clients go elsewhere, and deliver again what it held"
    ):
        await waiting
    with here.desk.feed.listen() as listener:
        await attached(here, replace(combiner))
        _ = [event async for event in until(listener, "combiner.drained")]
    assert here.runner.roster[there.client].state == "lost"


async def test_of_one_below_another_its_parent_tells(here: Site) -> None:
    await attached(here, combiner := east())
    below = Branch("leaf", "2", "east", "live", clients=3, held=2, held_bytes=9)
    here.tier.below(combiner, [below], complete=True)
    with here.desk.feed.listen() as listener:
        await here.desk.drain_combiner("leaf")
        waiting = asyncio.create_task(here.desk.drained("leaf"))
        for left in (replace(below, state="draining"), replace(below, state="draining", clients=0)):
            here.tier.below(combiner, [left], complete=True)
            await asyncio.sleep(0)
            assert not waiting.done()
        here.tier.below(combiner, [replace(below, state="draining", clients=0, held=0)], complete=True)
        await waiting
        said = [event.body async for event in until(listener, "combiner.drained")]
    assert said == [{"combiner": "leaf", "holder": "leaf.2"}]


async def test_who_asks_again_while_it_drains_waits_with_the_first_and_it_is_said_once(here: Site) -> None:
    await attached(here, combiner := east())
    there = await connected(here, combiner, "a")
    with here.desk.feed.listen() as listener:
        await asyncio.gather(here.desk.drain_combiner("east"), here.desk.drain_combiner("east"))
        await here.desk.drain_combiner("east")
        here.tier.gone(combiner, [there])
        said = [event.type async for event in until(listener, "combiner.drained")]
    assert said == ["combiner.draining", "client.lost", "combiner.drained"]


@pytest.mark.parametrize("name", ["east", "leaf"])
async def test_that_it_is_empty_is_said_once_however_often_it_is_asked_or_comes_back(here: Site, name: str) -> None:
    await attached(here, combiner := east())
    leaf = Branch("leaf", "2", "east", "draining", clients=0, held=0, held_bytes=0)
    with here.desk.feed.listen() as listener:
        here.tier.below(combiner, [replace(leaf, state="live")], complete=True)
        await here.desk.drain_combiner(name)
        here.tier.below(combiner, [leaf] if name == "leaf" else [], complete=True)
        _ = [event async for event in until(listener, "combiner.drained")]
        here.tier.detached(combiner)
        await attached(here, again := replace(combiner))
        here.tier.below(again, [leaf] if name == "leaf" else [], complete=True)
        await here.desk.drain_combiner(name)
        await here.players.join("z")
        said = [event.type async for event in until(listener, "client.joined")]
    assert said == ["combiner.lost", "combiner.joined", "client.joined"]


async def test_it_is_said_again_once_it_has_had_something_again(here: Site) -> None:
    """A client that was only away, a result that was not reported yet; another process is not draining."""
    await attached(here, combiner := replace(east(), instance="one"))
    there = await connected(here, combiner, "a")
    leaf = Branch("leaf", "2", "east", "draining", clients=0, held=0, held_bytes=0)
    drained = list[str]()
    with here.desk.feed.listen() as listener:
        await here.desk.drain_combiner("east")
        for _ in range(2):
            here.tier.gone(combiner, [there])
            drained.append(await next_drained(listener))
            here.tier.here(combiner, [there])
        for held in (0, 1, 0):
            here.tier.below(combiner, [replace(leaf, held=held)], complete=True)
        for _ in range(2):
            drained.append(await next_drained(listener))
        here.tier.detached(combiner)
        await attached(here, another := replace(combiner, instance="another"))
        assert another.state == "live"
        await here.desk.drain_combiner("east")
        drained.append(await next_drained(listener))
    assert drained == ["east", "east", "leaf", "leaf", "east"]


async def test_a_drain_that_could_not_be_written_has_not_begun_and_can_be_asked_for_again(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await attached(here, combiner := east())
    await connected(here, combiner, "a")
    write, failures = Store.write, [1]

    async def failing(store: Store, work: Any, **more: Any) -> Any:
        if not failures:
            return await write(store, work, **more)
        failures.pop()
        raise StateError("the disk is full")

    monkeypatch.setattr(Store, "write", failing)
    with here.desk.feed.listen() as listener:
        with pytest.raises(StateError):
            await here.desk.drain_combiner("east")
        assert combiner.state == "live"
        await here.desk.drain_combiner("east")
        said = [event.type async for event in until(listener, "combiner.draining")]
    assert (said, combiner.state) == (["combiner.draining"], "draining")
