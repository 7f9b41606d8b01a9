"""`stop_when`: a target or patience, over a metric's curve."""

import pytest
from pydantic import ValidationError

from fedk.rounds.condition import Patience, Target, condition
from fedk.rounds.rules import Rules

LOSS = condition("validate.loss no lower for 2 rounds")


def test_what_may_be_written() -> None:
    assert condition("") is None
    assert condition("validate.accuracy >= 0.97") == Target("validate.accuracy", ">=", 0.97)
    assert condition(" train.loss no higher for 1 round ") == Patience("train.loss", True, 1)
    assert Patience("validate.loss", False, 2) == LOSS


@pytest.mark.parametrize("text", ["validate.accuracy", "loss patience 5", "loss no lower for 0 rounds", "loss >= x"])
def test_what_may_not_is_answered_with_what_may(text: str) -> None:
    with pytest.raises(ValidationError, match="no higher for N rounds"):
        Rules(stop_when=text)


def test_a_target_looks_at_the_newest_round() -> None:
    target = condition("validate.accuracy > 0.9")
    assert target is not None
    assert target.met({1: 0.95, 2: 0.9}) == ""
    assert target.met({1: 0.5, 2: 0.95}) == "validate.accuracy 0.95 > 0.9 in round 2"
    assert target.met({}) == ""


def test_patience_ends_when_2_rounds_have_brought_nothing_lower_than_the_best() -> None:
    assert LOSS is not None
    assert LOSS.met({0: 1.0, 1: 0.5, 2: 0.6}) == ""
    assert LOSS.met({0: 1.0, 1: 0.5, 2: 0.6, 3: 0.7}) == "validate.loss no lower than 0.5 of round 1 for 2 rounds"
    assert LOSS.met({0: 1.0, 1: 0.5, 2: 0.6, 3: 0.4}) == ""


def test_an_equal_value_is_no_better_and_rounds_that_were_not_measured_count() -> None:
    assert LOSS is not None
    assert LOSS.met({0: 0.5, 1: 0.5, 2: 0.5}) != ""
    assert LOSS.met({0: 0.5, 5: 0.5}) == "validate.loss no lower than 0.5 of round 0 for 5 rounds"
    higher = condition("validate.accuracy no higher for 2 rounds")
    assert higher is not None
    assert higher.met({0: 0.5, 1: 0.4, 2: 0.3}) != ""
    assert higher.met({0: 0.5, 1: 0.6, 2: 0.7}) == ""
