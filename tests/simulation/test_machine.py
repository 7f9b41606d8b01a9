"""Thousands of schedules of the machine alone. A failing seed is named, and `Schedule(seed).play()` plays it again."""

import pytest
from tests.simulation.invariants import Broken
from tests.simulation.schedule import Schedule

SEEDS, TOGETHER = 4_000, 250


@pytest.mark.parametrize("first", range(0, SEEDS, TOGETHER))
def test_every_schedule_ends_and_keeps_the_invariants(first: int) -> None:
    for seed in range(first, first + TOGETHER):
        try:
            Schedule(seed).play()
        except Broken as broken:
            pytest.fail(f"Schedule({seed}).play(): {broken}")


def test_the_schedules_end_in_every_way_that_there_is() -> None:
    assert {Schedule(seed).play().state.status for seed in range(60)} == {"finished", "failed", "stopped"}
