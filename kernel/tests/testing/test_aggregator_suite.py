"""The suite is proved on aggregators that are wrong on purpose: each must fail the right test."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from fedk.api.aggregator import Array, Config, MeanAggregator, Round, State, Update
from fedk.api.errors import FedkError
from fedk.testing.aggregator import AggregatorSuite
from fedk.testing.textbook import Textbook, Told


class Right(MeanAggregator[Config]):
    """Momentum, with all that may be declared."""

    sets = ("control",)
    metrics = {"loss": (2.0, 3.0)}  # noqa: RUF012 — read only

    def initial(self) -> Mapping[str, float]:
        return {"m": 0.0}

    def initial_scalars(self) -> Mapping[str, float]:
        return {"rounds": 0.0}

    def minimum(self) -> int:
        return 2

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        m = 0.5 * state["m"] + (mean - x) + 0.001 * r.sets["control"]
        return x + m, {"m": m}

    def finish(self, r: Round) -> Mapping[str, float]:
        return {"rounds": r.scalars["rounds"] + 1}


class Overwrites(Right):
    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        mean -= x
        return x + mean, {"m": mean}


class Normalises(Right):
    """Looks at a block as a whole."""

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        d = mean - x
        return x + d / (1 + np.abs(d).max()), {"m": d}


class Remembers(Right):
    """Keeps its momentum in itself."""

    def __init__(self, config: Config | None = None) -> None:
        super().__init__(config)
        self.calls = 0

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        self.calls += 1
        return mean + 0.1 * self.calls, {"m": state["m"]}


class CountsInTurn(Right):
    """Weighs an update by when it came."""

    def weight(self, u: Update, r: Round) -> float:
        return float(1 + int(u.key))


class Raw(Right):
    """Puts the number of examples into the step."""

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return x + (mean - x) * 0.001 * r.weight, {"m": state["m"]}


class Narrow(Right):
    """Computes in float32."""

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return x + (mean.astype(np.float32) - x.astype(np.float32)), {"m": state["m"]}


class Undescribed(Config):
    rate: float = 1.0


class Silent(MeanAggregator[Undescribed]):
    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return mean, {}


class Forgets(Right):
    """Drops its scalars."""

    def finish(self, r: Round) -> Mapping[str, float]:
        return {}


class Misnames(Right):
    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return mean, {"momentum": state["m"]}


def no_momentum(x: Array, told: Sequence[Told]) -> Array:
    """The textbook of `Right` in the first round only: it forgets m."""
    n = sum(t.num_examples for t in told)
    mean = sum((t.num_examples * t.w for t in told), np.zeros_like(x)) / n
    control = sum((t.num_examples * t.sets["control"] for t in told), np.zeros_like(x)) / n
    return np.asarray(mean + 0.001 * control)


def with_momentum() -> Textbook:
    now: list[Array] = []

    def book(x: Array, told: Sequence[Told]) -> Array:
        now[:] = [0.5 * (now[0] if now else 0.0) + no_momentum(x, told) - x]
        return x + now[0]

    return book


Test = Callable[[AggregatorSuite], None]


def suite(aggregator: type[MeanAggregator[Any]], **declared: Any) -> AggregatorSuite:
    made: AggregatorSuite = type("Suite", (AggregatorSuite,), {"aggregator": aggregator, **declared})()
    return made


@pytest.mark.parametrize(
    ("wrong", "test", "message"),
    [
        (Overwrites, AggregatorSuite.test_step_leaves_its_blocks_alone, "wrote into a block"),
        (Normalises, AggregatorSuite.test_blocks_of_any_size_give_the_same_model, "blocks of 1 elements .* not elementwise"),
        (Remembers, AggregatorSuite.test_a_step_done_again_gives_the_same, "state outside `state`"),
        (CountsInTurn, AggregatorSuite.test_the_order_of_the_updates_does_not_matter, "in another order gave another model"),
        (Raw, AggregatorSuite.test_only_the_ratio_of_the_weights_matters, "three times the examples"),
        (Narrow, AggregatorSuite.test_updates_of_a_ten_thousandth_keep_their_digits, "something is rounded to float32"),
        (Silent, AggregatorSuite.test_every_setting_says_what_it_means, "without a description: rate"),
        (Forgets, AggregatorSuite.test_the_state_goes_on_where_it_was, "dropped scalars of the state"),
        (Misnames, AggregatorSuite.test_the_state_goes_on_where_it_was, "initial\\(\\) names \\['m'\\]"),
    ],
)  # fmt: skip
def test_a_wrong_aggregator_fails_the_right_test_with_a_readable_message(
    wrong: type[MeanAggregator[Any]], test: Test, message: str
) -> None:
    with pytest.raises((AssertionError, FedkError), match=message):
        test(suite(wrong))


def test_one_that_does_not_give_the_mean_may_not_say_so() -> None:
    with pytest.raises(AssertionError, match="one update alone was changed"):
        AggregatorSuite.test_one_update_alone_comes_back_byte_for_byte(suite(Right, gives_mean=True))


def test_another_formula_than_the_textbooks_is_found_in_the_round_where_they_part() -> None:
    test = AggregatorSuite.test_it_agrees_with_the_textbook_round_after_round
    test(suite(Right, textbook=lambda _: with_momentum()))
    with pytest.raises(AssertionError, match="round 2 differs from the textbook's"):
        test(suite(Right, textbook=lambda _: no_momentum))


def test_a_readme_of_another_aggregator_is_found(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text('```toml\n[aggregator]\nuse = "silent"\n[aggregator.silent]\nrat = 1.0\n```\n')
    wrong = suite(Silent, readme=readme)
    with pytest.raises(AssertionError, match="rate"):
        AggregatorSuite.test_the_readme_has_the_table_of_settings(wrong)
    with pytest.raises(ValidationError, match="rat\n"):
        AggregatorSuite.test_the_readmes_session_is_one(wrong)
    readme.write_text("nothing")
    with pytest.raises(AssertionError, match="show a session file that uses the plugin"):
        AggregatorSuite.test_the_readmes_session_is_one(wrong)


NOT_DECLARED = {
    "test_liars_move_it_no_further_than_the_honest",
    "test_one_update_alone_comes_back_byte_for_byte",
    "test_it_agrees_with_the_textbook_round_after_round",
    "test_the_readme_has_the_table_of_settings",
    "test_the_readmes_session_is_one",
}


@pytest.mark.parametrize("name", [name for name in vars(AggregatorSuite) if name.startswith("test_")])
def test_a_right_aggregator_passes_or_skips(name: str) -> None:
    test: Test = getattr(AggregatorSuite, name)
    try:
        test(suite(Right))
    except pytest.skip.Exception:
        assert name in NOT_DECLARED
