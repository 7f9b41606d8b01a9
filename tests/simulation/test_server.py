"""Hundreds of federations in virtual time. A failing seed is named, and `plans.chaos(seed)` plays it again exactly."""

import pytest
from tests.simulation.plans import chaos, equal, play, scaled

pytestmark = [  # a server that is killed closes nothing
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),
]

CHAOS, EQUAL, EXACT = range(40), range(1_000, 1_025), range(2_000, 2_008)
"""Seeds of every run; `make soak` plays others."""


@pytest.mark.parametrize("seed", CHAOS)
def test_whatever_happens_sessions_end_and_every_receipt_gets_one_verdict(seed: int) -> None:
    assert play(seed, chaos(seed)).statuses


@pytest.mark.parametrize("seed", EQUAL)
def test_a_disturbed_run_has_the_digests_of_the_undisturbed_one(seed: int) -> None:
    assert play(seed, equal(seed, disturbed=True)).digests == play(seed, equal(seed, disturbed=False)).digests


def digests(seed: int, *, deterministic: bool) -> list[list[str]]:
    """Of three rounds undisturbed, and with crashes of the server and other orders of arrival."""
    outcomes = [
        play(seed, scaled(seed, disturbed=disturbed, deterministic=deterministic)) for disturbed in (False, True)
    ]
    assert [outcome.statuses for outcome in outcomes] == [{"s0": "finished"}] * 2
    return [outcome.digests["s0"] for outcome in outcomes]


@pytest.mark.parametrize("seed", EXACT)
def test_a_deterministic_session_has_those_digests_with_float64_models_too(seed: int) -> None:
    undisturbed, disturbed = digests(seed, deterministic=True)
    assert disturbed == undisturbed


def test_other_sessions_show_in_what_order_their_updates_came() -> None:
    """So the test above can fail."""
    undisturbed, disturbed = digests(EXACT[0], deterministic=False)
    assert disturbed != undisturbed


@pytest.mark.parametrize("seed", [3, 16])
def test_a_seed_is_the_same_schedule_each_time(seed: int) -> None:
    first, second = play(seed, chaos(seed)), play(seed, chaos(seed))
    assert first == second
    assert first.steps > 0
