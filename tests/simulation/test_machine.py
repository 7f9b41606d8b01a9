"""Thousands of schedules of the machine alone. A failing seed is named, and `Schedule(seed).play()` plays it again."""

import time
from collections import Counter
from collections.abc import Callable

import pytest
from tests.simulation.schedule import Schedule

SEEDS = range(4_000)
PATIENCE = 120
"""Seconds of a processor that all of them may take."""


def test_every_schedule_ends_and_keeps_the_invariants(figure: Callable[..., None]) -> None:
    start, mishaps = time.process_time(), Counter[str]()
    for seed in SEEDS:
        schedule = Schedule(seed)
        try:
            mishaps.update(schedule.play().combiners.happened)
        except Exception as error:  # noqa: BLE001  # whatever it is, its seed is named
            pytest.fail(f"Schedule({seed}).play(): {error!r}")
    seconds = time.process_time() - start
    figure(schedules=len(SEEDS), seconds=round(seconds, 1), a_second=round(len(SEEDS) / seconds), **mishaps)
    assert seconds < PATIENCE


def test_the_schedules_end_in_every_way_that_there_is() -> None:
    assert {Schedule(seed).play().state.status for seed in range(60)} == {"finished", "failed", "stopped"}


def test_whatever_happens_to_combiners_is_in_the_schedules() -> None:
    seen = {mishap for seed in range(60) for mishap in Schedule(seed).play().combiners.happened}
    assert seen == {
        "stale combiner",
        "lost receipt of a partial",
        "redelivery to another holder",
        "double return",
    }
