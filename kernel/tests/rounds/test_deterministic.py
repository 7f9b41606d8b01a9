"""Deterministic sessions: what their sums may not hold is refused to its client; how a session adds up is fixed."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from fedk.api.errors import Conflict
from fedk.state import tables as t
from fedk.testing.site import Play, Site, site, weights


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path / "data") as opened:
        yield opened


async def ended(here: Site, until: str, *, value: float = 0.0, **rules: Any) -> str:
    """A session of one round, from a model of weights `value`; its id when that event has come."""
    body = {"name": "exact", "model": await here.put(weights(value)), "validation": {"every": 0}, **rules}
    with here.desk.feed.listen() as listener:
        started = await here.rest.post("/api/v1/sessions", json=body)
        assert started.status_code == 201, started.text
        async for event in listener:
            if event.type == until:
                break
    return str(started.json()["id"])


async def reasons(here: Site) -> set[tuple[str, str]]:
    async with here.store.reading() as db:
        found = (await db.execute(select(t.rejections.c.reason, t.rejections.c.detail))).all()
    return {(row.reason, row.detail) for row in found}


async def test_an_update_that_exact_sums_may_not_hold_is_refused_and_the_round_goes_on(here: Site) -> None:
    """2³¹ examples of weights of 1e33 are 2.1e42."""
    for name, examples in (("a", 10), ("b", 20), ("much", 2**31)):
        await here.players.join(name, Play(examples=examples))
    rules = {"deterministic": True, "round": {"quorum": 0.6, "retries": 0}, "clients": {"min": 3}}
    await ended(here, "session.finished", value=1e33, **rules)
    [(reason, detail)] = await reasons(here)
    assert (reason, detail[:75]) == (
        "too-large",
        "weight × scale × its largest element may reach 2.15e+42; deterministic sums"[:75],
    )


async def test_other_sessions_take_it(here: Site) -> None:
    await here.players.join("a", Play())
    await here.players.join("much", Play(examples=2**31))
    await ended(here, "session.finished", value=1e33)
    assert not await reasons(here)


async def test_how_a_session_adds_up_is_not_changed_on_its_way(here: Site) -> None:
    await here.players.join("a", Play(silent=True))
    session = await ended(here, "round.open", clients={"min": 1})
    await here.desk.pause(session)
    with pytest.raises(
        Conflict, match=r"session exact keeps its way of adding up \(deterministic\): start another one"
    ):
        await here.desk.resume(session, {"deterministic": True})
