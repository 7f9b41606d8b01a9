"""Hundreds of federations in virtual time. A failing seed is named, and `plans.chaos(seed)` plays it again exactly."""

import pytest
from tests.simulation.plans import chaos, equal, full, onlooker, patient, play, scaled, strict, unwritten

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


@pytest.mark.parametrize("seed", [2_000])
def test_what_cannot_be_stored_for_half_an_hour_is_tried_again_by_itself_and_not_too_often(seed: int) -> None:
    outcome = play(seed, full(seed))
    assert outcome.statuses == {"s0": "finished"}
    assert 6 + 1_800 // 60 - 2 <= outcome.counts["tries"] <= 6 + 1_800 // 60 + 2, "after 1, 2, 4 … 60, 60 s"


@pytest.mark.parametrize("seed", [2_000, 2_001])
def test_a_database_that_takes_nothing_for_ten_minutes_is_asked_less_and_less_and_sessions_go_on(seed: int) -> None:
    outcome = play(seed, unwritten(seed))
    assert outcome.statuses == {"s0": "finished"}
    assert len(outcome.digests["s0"]) == 13
    assert outcome.counts["tries"] <= 7 + 600 // 60 + 8, "who speaks to it meanwhile asks too"


@pytest.mark.parametrize("seed", range(2_000, 2_003))
def test_patience_is_counted_on_after_crashes(seed: int) -> None:
    calm, wild = play(seed, patient(seed, disturbed=False)), play(seed, patient(seed, disturbed=True))
    assert "train.loss no lower than" in calm.whys["s0"]
    assert (wild.whys, wild.digests) == (calm.whys, calm.digests)


def test_who_only_validates_measures_each_model() -> None:
    outcome = play(2_000, onlooker(2_000, mode="sync"))
    assert outcome.statuses == {"s0": "finished"}
    assert outcome.measured == {"s0": {0, 1, 2, 3}}


@pytest.mark.parametrize("seed", [2_000, 2_001])
def test_who_only_validates_in_async_measures_the_first_model_and_the_last_whatever_overtakes_it(seed: int) -> None:
    outcome = play(seed, onlooker(seed, mode="async"))
    assert outcome.statuses == {"s0": "finished"}
    assert outcome.measured["s0"] >= {0, 3}


def test_a_gate_that_admits_nobody_in_async_is_asked_again_at_each_deadline() -> None:
    outcome = play(2_000, strict(2_000))
    assert outcome.statuses == {"s0": "finished"}
    assert outcome.seconds > 120, "two deadlines of 60 s"


@pytest.mark.parametrize("seed", [3, 16])
def test_a_seed_is_the_same_schedule_each_time(seed: int) -> None:
    first, second = play(seed, chaos(seed)), play(seed, chaos(seed))
    assert first == second
    assert first.steps
