"""How long a round took: the clock on the wall may jump by a day, and no round takes a day for it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kernel.tests.rounds.test_gates import until

from fedk.rounds.clients import Offer
from fedk.testing.site import Play, Site, site

DAY, DEADLINE, SOON = 86_400.0, 50.0, 30.0
RULES: dict[str, Any] = {"clients": {"min": 1}, "round": {"deadline": DEADLINE}, "validation": {"every": 0}}


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the clock forward, or back."""
    wall, shift = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: wall() + sum(shift))
    return shift.append


async def seconds(here: Site) -> list[float]:
    """Of each round: in the table, and between its two moments."""
    rounds = (await here.get("sessions/digits-1/rounds"))["rounds"]
    assert [row["seconds"] for row in rounds] == [round(row["closed_at"] - row["opened_at"], 6) for row in rounds]
    return [row["seconds"] for row in rounds]


@pytest.mark.parametrize("by", [DAY, -DAY])
async def test_a_clock_that_jumps_in_mid_round_changes_no_rounds_seconds(
    tmp_path: Path, jump: Callable[[float], None], by: float
) -> None:
    def jumping(_: Offer) -> Play:
        jump(by)
        return Play()

    async with site(tmp_path) as here:
        await here.players.join("a", jumping)
        await here.start(until="session.finished", rounds=2, **RULES)
        assert all(0 <= took < SOON for took in await seconds(here))


@pytest.mark.parametrize("by", [DAY, -DAY])
async def test_a_clock_that_jumps_while_the_server_is_away_adds_a_deadline_at_most(
    tmp_path: Path, jump: Callable[[float], None], by: float
) -> None:
    async with site(tmp_path) as here:
        await here.players.join("a", Play(silent=True))
        await here.start(until="round.open", rounds=1, **RULES)
    jump(by)
    async with site(tmp_path) as here:
        with here.desk.feed.listen() as listener:
            await here.players.join("a")
            current = (await here.get("sessions/digits-1"))["current"]
            assert current["remaining"] is None or current["remaining"] <= DEADLINE
            assert await until(listener, "session.finished")
        (took,) = await seconds(here)
        assert 0 <= took < DEADLINE + SOON
