"""Sessions out of their rows, after a start."""

import math
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from fedk.rounds.rules import Clients, Rules
from fedk.state import tables as t
from fedk.testing.site import site


def nested(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"in": found}
    return found


@pytest.mark.parametrize(
    "older",
    [
        {"aggregator": {"use": "fedavg", "wrap": ["central-dp"] * 17}},
        {"client_settings": {"scale": math.inf}},
        {"client_settings": nested(65)},
    ],
    ids=["17 wraps", "infinity", "65 levels"],
)
async def test_a_session_whose_rules_are_older_than_their_bounds_is_loaded_and_can_be_stopped(
    tmp_path: Path, older: dict[str, Any]
) -> None:
    async with site(tmp_path) as here:
        session = await here.desk.create("default", name="s", rules=Rules(clients=Clients(min=3)), model=None)
        async with here.store.transaction() as db:
            rules = (await db.execute(select(t.sessions.c.rules))).scalar_one()
            await db.execute(update(t.sessions).values(rules={**rules, **older}))
    async with site(tmp_path) as here:
        assert here.runner.lives[session].state.status in ("running", "paused")
        await here.desk.stop(session)
        assert (await here.get("sessions"))["sessions"][0]["status"] == "stopped"
