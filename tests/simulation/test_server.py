"""Hundreds of federations in virtual time. A failing seed is named, and `plans.chaos(seed)` plays it again exactly."""

import pytest
from tests.simulation.plans import chaos, equal, play

pytestmark = [  # a server that is killed closes nothing
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),
]

CHAOS, EQUAL = range(40), range(1_000, 1_025)
"""Seeds of every run; `make soak` plays others."""


@pytest.mark.parametrize("seed", CHAOS)
def test_whatever_happens_sessions_end_and_every_receipt_gets_one_verdict(seed: int) -> None:
    assert play(seed, chaos(seed)).statuses


@pytest.mark.parametrize("seed", EQUAL)
def test_a_disturbed_run_has_the_digests_of_the_undisturbed_one(seed: int) -> None:
    assert play(seed, equal(seed, disturbed=True)).digests == play(seed, equal(seed, disturbed=False)).digests


@pytest.mark.parametrize("seed", [3, 16])
def test_a_seed_is_the_same_schedule_each_time(seed: int) -> None:
    first, second = play(seed, chaos(seed)), play(seed, chaos(seed))
    assert first == second
    assert first.steps > 0
