"""Models are made again from what was kept, and compared to the bit; what cannot be, or does not agree, is named."""

import asyncio
import re
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from fedk.api.aggregator import Array, Config, MeanAggregator, Round, State
from fedk.rounds.budget import Budget
from fedk.rounds.clients import Offer
from fedk.rounds.loaded import Loaded
from fedk.rounds.replay import Replayed, Replays
from fedk.rounds.rules import Rules
from fedk.state import tables as t
from fedk.testing.site import Move, Play, Site, site

ADDS = (0.1, 0.7, -0.3, 1e-9, 0.123456789, -1e5, 1e5 / 3)
"""What seven clients add: their float64 sum depends in its last bits on the order."""


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path / "data") as opened:
        yield opened


def moves(number: int, add: float) -> Move:
    def move(offer: Offer) -> Play:
        return Play(add=add * (1 + offer.work.round / 7), loss=0.3 + number / 10, examples=10 + number)

    return move


async def played(here: Site, *, clients: int = 7, until: str = "session.finished", **rules: Any) -> Any:
    for number, add in enumerate(ADDS[:clients]):
        await here.players.join(f"p{number}", moves(number, add))
    wanted: dict[str, Any] = {
        "rounds": 4,
        "clients": {"min": clients},
        "validation": {"every": 0},
        "updates": {"keep": "all"},
    }
    return await here.start(until=until, **(wanted | rules))


async def checked(here: Site, no: int) -> Any:
    return await here.get(f"models/digits-1/{no}/check?replay=true")


async def verified(here: Site) -> list[str]:
    models = (await here.get("sessions/digits-1/trail"))["models"]
    checks = [await checked(here, model["round"]) for model in models]
    wrong = [
        check for check in checks if not check["whole"] or (check["not_replayed"] and not check["ref"].endswith("/0"))
    ]
    assert wrong == []
    return [check["verified"] for check in checks]


REPLAYED = ["hash", *["replayed"] * 4]

SYNC: dict[str, Any] = {
    "the mean": {},
    "exact sums": {"deterministic": True},
    "state tensors": {"aggregator": {"use": "fedadam"}},
    "coordinates": {"aggregator": {"use": "fedmedian"}},
    "a selection": {"aggregator": {"use": "krum"}},
    "weights from distances": {"aggregator": {"use": "geometric-median"}},
    "several passes": {"aggregator": {"use": "bulyan"}},
    "a step that follows": {"aggregator": {"use": "trimmed-mean", "then": "fedavgm"}},
}
ASYNC: dict[str, Any] = {
    "stale deltas": {"aggregator": {"use": "fedbuff"}, "async": {"buffer": 3}},
    "stale models": {"aggregator": {"use": "fedasync"}, "async": {"buffer": 1}},
    "a median of whoever came": {"aggregator": {"use": "fedmedian"}, "async": {"buffer": 5}},
}


@pytest.mark.parametrize("rules", SYNC.values(), ids=SYNC)
async def test_every_model_is_made_again_to_the_bit(here: Site, rules: dict[str, Any]) -> None:
    await played(here, **rules)
    assert await verified(here) == REPLAYED


@pytest.mark.parametrize("rules", ASYNC.values(), ids=ASYNC)
async def test_async_models_too_whatever_their_updates_were_trained_on(here: Site, rules: dict[str, Any]) -> None:
    await played(here, mode="async", **rules)
    assert await verified(here) == REPLAYED


# ---- what does not agree ----


async def change(here: Site, statement: Any) -> None:
    async with here.store.transaction() as tx:
        await tx.execute(statement)


async def row(here: Site, no: int) -> Any:
    async with here.store.reading() as db:
        return (await db.execute(select(t.models).where(t.models.c.round == no))).one()


async def first_task(here: Site, no: int) -> Any:
    """Of the updates of model `no` that of p0."""
    async with here.store.reading() as db:
        of_model = t.contributions.c.model == (await row(here, no)).id
        wanted = select(t.contributions).where(of_model, t.contributions.c.client_name == "p0")
        return (await db.execute(wanted)).one()


async def test_another_order_is_seen_in_the_last_bits(here: Site) -> None:
    await played(here)
    recipe = (await row(here, 2)).recipe
    said = set()
    for order in permutations(recipe["folded"][:4]):
        other = recipe | {"folded": [*recipe["folded"][4:], *order]}
        await change(here, update(t.models).where(t.models.c.round == 2).values(recipe=other))
        check = await checked(here, 2)
        said.add((check["verified"], check["replay"]))
    differing = {text for verified, text in said if verified == "hash"}
    assert differing
    assert all(
        re.fullmatch(r"made again, w differs in 4 of 4 elements, by \d\.\d*e-1\d at most", text) for text in differing
    )


async def test_a_scale_that_was_changed_is_found_by_the_tensors(here: Site) -> None:
    await played(here, mode="async", **ASYNC["stale deltas"])
    async with here.store.reading() as db:
        model = (await row(here, 3)).id
        tasks = (await db.scalars(select(t.contributions.c.task).where(t.contributions.c.model == model))).all()
    await change(here, update(t.results).where(t.results.c.task == tasks[0]).values(scale=t.results.c.scale * 2))
    check = await checked(here, 3)
    assert (check["whole"], check["bytes"], check["digest"]) == (False, "", "")
    assert check["replay"].startswith("made again, w differs in 4 of 4 elements, by ")
    assert (await checked(here, 2))["verified"] == "replayed"


@pytest.mark.parametrize(("column", "trail", "value"), [("weight", 10.0, 12.0), ("num_examples", 10, 12)])
async def test_a_number_that_the_trail_and_the_result_give_differently_is_named_with_its_client(
    here: Site, column: str, trail: float, value: float
) -> None:
    await played(here)
    task = (await first_task(here, 2)).task
    await change(here, update(t.results).where(t.results.c.task == task).values({column: value}))
    check = await checked(here, 2)
    said = f"the {column} of p0's update is {trail} in the trail, {value} in the row of its result"
    assert check["replay"] == said


async def test_a_weight_that_was_changed_in_both_rows_breaks_the_digest_and_the_replay(here: Site) -> None:
    await played(here)
    task = (await first_task(here, 2)).task
    for table in (t.results, t.contributions):
        await change(here, update(table).where(table.c.task == task).values(weight=11.0))
    check = await checked(here, 2)
    assert check["verified"] == "nothing"
    assert "its rows give" in check["digest"]
    assert check["replay"].startswith("made again, w differs in 4 of 4 elements, by ")


async def test_a_flipped_byte_of_a_kept_update_is_named_with_its_client(here: Site) -> None:
    await played(here)
    sha256 = (await first_task(here, 2)).update_sha256
    [path] = here.data_dir.rglob(sha256.hex())
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    check = await checked(here, 2)
    assert check["replay"].startswith(f"the update of p0: blob {sha256.hex()} is damaged")


async def test_a_model_that_was_replaced_with_its_hash_is_found(here: Site) -> None:
    """Whoever can write rows can make any hash and digest agree."""
    await played(here, aggregator={"use": "fedadam"})
    other = await row(here, 1)
    await change(here, update(t.models).where(t.models.c.round == 4).values(sha256=other.sha256))
    check = await checked(here, 4)
    assert check["replay"].startswith("made again, w differs in 4 of 4 elements, by ")


async def test_a_state_that_was_replaced_is_found(here: Site) -> None:
    await played(here, aggregator={"use": "fedadam"})
    other = await row(here, 1)
    await change(here, update(t.models).where(t.models.c.round == 4).values(state_sha256=other.state_sha256))
    check = await checked(here, 4)
    assert check["replay"].startswith("made again, m/w differs in 4 of 4 elements, by ")
    assert check["replay"].endswith("so does 1 more tensor")


async def test_settings_that_the_digest_does_not_cover_are_found(here: Site) -> None:
    await played(here, aggregator={"use": "fedadam"})
    recipe = (await row(here, 2)).recipe
    recipe["rules"]["aggregator"]["fedadam"] = {"learning_rate": 9.0}
    await change(here, update(t.models).where(t.models.c.round == 2).values(recipe=recipe))
    assert "are not those that its digest covers" in (await checked(here, 2))["replay"]


# ---- what cannot be made again ----


async def unable(here: Site, no: int) -> str:
    check = await checked(here, no)
    assert (check["whole"], check["verified"], check["replay"]) == (True, "hash", "")
    return str(check["not_replayed"])


async def test_updates_that_are_not_kept_are_said_with_the_rule(here: Site) -> None:
    await played(here, updates={"keep": "last:2"})
    await here.collected()
    assert await unable(here, 2) == 'its updates are not kept: updates.keep = "last:2"'
    assert (await checked(here, 3))["verified"] == "replayed"
    assert await unable(here, 0) == "it is the initial one: it was not made of updates"


async def test_noise_is_recorded_as_drawn(here: Site) -> None:
    dp = {"noise_multiplier": 1.0, "clip": 0.5}
    await played(here, clients=4, rounds=1, aggregator={"use": "fedavg", "wrap": ["central-dp"], "central-dp": dp})
    assert await unable(here, 1) == "central-dp(fedavg) draws noise: the model is recorded as drawn"


async def recorded_by(here: Site, no: int, **other: str) -> None:
    recipe = (await row(here, no)).recipe
    [[name, version, distribution]] = recipe["plugins"]
    part = {"name": name, "version": version, "distribution": distribution} | other
    recipe["plugins"] = [[part["name"], part["version"], part["distribution"]]]
    recipe["rules"]["aggregator"]["use"] = part["name"]
    await change(here, update(t.models).where(t.models.c.round == no).values(recipe=recipe))


async def test_a_plugin_of_another_version_is_named_with_the_next_step(here: Site) -> None:
    await played(here, rounds=1)
    _, version, distribution = (await row(here, 1)).recipe["plugins"][0]
    await recorded_by(here, 1, version="0.0.9")
    assert await unable(here, 1) == (
        f"fedavg 0.0.9 is not installed ({version} is). In an environment of its own: pip install {distribution}==0.0.9"
    )


async def test_a_plugin_that_is_gone_is_named_with_the_next_step(here: Site) -> None:
    await played(here, rounds=1)
    await recorded_by(here, 1, name="feddream", version="1.2", distribution="feddream-plugin")
    said = await unable(here, 1)
    assert said.startswith("feddream 1.2 is not installed")
    assert said.endswith("pip install feddream-plugin==1.2")


async def test_updates_that_a_combiner_summed_are_counted(here: Site) -> None:
    await played(here, rounds=1)
    number = iter((1, 1, 2))
    async with here.store.reading() as db:
        tasks = (await db.scalars(select(t.results.c.task).limit(3))).all()
    for task in tasks:
        name = f"{'east' if next(number) == 1 else 'west'}.9f#7"
        await change(here, update(t.results).where(t.results.c.task == task).values(partial=name))
    said = "3 of 7 updates were summed elsewhere, 2 by combiner east, 1 by combiner west"
    assert await unable(here, 1) == said


# ---- changes on the way ----


async def test_what_was_folded_ahead_is_folded_again_when_the_rules_change(here: Site) -> None:
    """Half of round 1 has come when the learning rate is changed: the whole round is made with the new one."""
    arrived = {"updates": 0}

    def slow(_: Offer) -> Play:
        return Play(add=0.5, silent=not arrived["updates"])

    slow_client = await here.players.join("slow", slow)
    rules = {"rounds": 1, "clients": {"min": 3}, "updates": {"keep": "all"}, "aggregator": {"use": "fedadam"}}
    for number in range(2):
        await here.players.join(f"p{number}", moves(number, ADDS[number]))
    with here.desk.feed.listen() as listener:
        body = {"name": "digits-1", "model": await here.put(), "validation": {"every": 0}, **rules}
        session = (await here.rest.post("/api/v1/sessions", json=body)).json()["id"]
        async for event in listener:
            arrived["updates"] += event.type == "update.accepted"
            if arrived["updates"] == 2:
                break
        await here.rest.post("/api/v1/sessions/digits-1/pause")
        changes = {"aggregator.fedadam": {"learning_rate": 7.0}}
        answer = await here.rest.post("/api/v1/sessions/digits-1/resume", json={"changes": changes})
        assert answer.status_code == 200, answer.text
        here.players.door.joined(slow_client)  # it is offered its task again
        async for event in listener:
            if event.type == "session.finished" and event.session == session:
                break
    assert await verified(here) == ["hash", "replayed"]


# ---- beside a session that goes on ----


async def test_models_whose_bytes_are_collected_meanwhile_are_not_called_damaged(here: Site) -> None:
    """40 rounds that keep three models' updates and bytes: the newest are checked again and again, and after the end."""
    for number, add in enumerate(ADDS):
        await here.players.join(f"p{number}", moves(number, add))
    rules: dict[str, Any] = {"rounds": 40, "clients": {"min": 7}, "validation": {"every": 0}}
    rules |= {"updates": {"keep": "last:3"}, "models": {"keep": "last:3"}}
    body = {"name": "digits-1", "model": await here.put(), **rules}
    seen: Counter[str] = Counter()
    assert (await here.rest.post("/api/v1/sessions", json=body)).status_code == 201
    running = True
    while running:
        running = (await here.get("sessions/digits-1"))["status"] == "running"
        for model in (await here.get("models?session=digits-1&limit=6"))["models"]:
            check = await checked(here, model["round"])
            assert check["whole"], check
            assert not check["replay"], check
            seen[check["verified"]] += 1
    assert seen["replayed"]
    assert seen["digest"]


async def test_updates_that_are_collected_before_they_are_held_are_not_kept(here: Site) -> None:
    """The aggregator is loaded after the rows were read for the first time."""
    await played(here, rounds=1)
    model = (await row(here, 1)).id

    def aggregators(rules: Rules) -> Loaded:
        with closing(sqlite3.connect(here.data_dir / "fedk.sqlite")) as db, db:
            db.execute("DELETE FROM blob_refs WHERE ref_kind = 'update'")
        return here.runner.opener.aggregators(rules)

    found = await Replays(here.store, here.blobs, aggregators, Budget(2**20)).replay(model)
    assert found == Replayed(unable='its updates are not kept: updates.keep = "all"')


# ---- one at a time, to be left at any time ----


class Slow(MeanAggregator[Config]):
    """Its step says that it has begun, and waits to be let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:  # the contract's
        self.begun.set()
        self.go_on.wait()
        return mean, {}


async def test_who_leaves_ends_a_replay_within_a_block_and_gives_its_memory_back(here: Site) -> None:
    await played(here, rounds=1)
    slow, memory = Slow(), Budget(2**20)

    def aggregators(rules: Rules) -> Loaded:
        return replace(here.runner.opener.aggregators(rules), aggregator=slow)

    replays, model = Replays(here.store, here.blobs, aggregators, memory), (await row(here, 1)).id
    left = asyncio.create_task(replays.replay(model))
    await asyncio.to_thread(slow.begun.wait)
    left.cancel()
    again = asyncio.create_task(replays.replay(model))
    assert memory.held == 8 * 4
    slow.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await left
    assert await again == Replayed()
    assert memory.held == 0


async def test_a_plugin_that_was_upgraded_on_the_way_is_recorded_as_it_is(tmp_path: Path) -> None:
    async with site(tmp_path / "data") as before:
        rules = {"clients": {"min": 2}, "validation": {"every": 0}, "updates": {"keep": "all"}}
        await before.rest.post("/api/v1/sessions", json={"name": "digits-1", "model": await before.put(), **rules})
        await change(before, update(t.sessions).values(aggregator_version="0.0.9"))
    async with site(tmp_path / "data") as here:
        with here.desk.feed.listen() as listener:
            for number in range(2):
                await here.players.join(f"p{number}", moves(number, 0.1))
            async for event in listener:
                if event.type == "session.finished":
                    break
        model = await row(here, 1)
        assert model.aggregator_version == model.recipe["plugins"][0][1] != "0.0.9"
        assert (await checked(here, 1))["verified"] == "replayed"
