"""The suite is proved on wrong aggregators of the shapes that need all updates at once: each fails the right test."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from pydantic import Field

from fedk.aggregation.composition import composed
from fedk.api.aggregator import (
    Aggregator,
    AnyAggregator,
    Array,
    Block,
    Config,
    CoordinateAggregator,
    Geometry,
    MeanAggregator,
    Recipe,
    Round,
    SelectionAggregator,
    State,
    Updates,
    Wrapper,
)
from fedk.api.errors import FedkError
from fedk.api.formulas import median
from fedk.testing import AggregatorSuite
from fedk.testing.suite import Suite


class Median(CoordinateAggregator[Config]):
    """Right."""

    def combine(self, values: Array, weights: Array) -> Array:
        return median(values)


class Central(SelectionAggregator[Config]):
    """Right: the update with the least distances to all others."""

    def minimum(self) -> int:
        return 3

    def choose(self, geometry: Geometry, weights: Array) -> Array:
        chosen = np.zeros(len(weights))
        chosen[np.sqrt(geometry.distances).sum(axis=1).argmin()] = 1
        return chosen


class Halfway(Aggregator[Config]):
    """Right: the median, with momentum of its own."""

    def initial(self) -> Mapping[str, float]:
        return {"m": 0.0}

    def aggregate(self, updates: Updates, r: Round) -> Recipe:
        def step(block: Block) -> tuple[Array, State]:
            m = 0.5 * block.state["m"] + median(block.values) - block.base
            return block.base + m, {"m": m}

        return Recipe(range(len(updates)), updates.weights, step, lambda values, _: median(values))


class Around(Wrapper[Config]):
    """Right: goes half as far as what is inside."""

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        after, states = self.inner.step(x, mean, state, r)
        return (x + after) / 2, states


class Mean(MeanAggregator[Config]):
    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return mean, {}


class First(Median):
    """Takes the update that stands first."""

    def combine(self, values: Array, weights: Array) -> Array:
        first: Array = values[0].copy()
        return first


class Spreads(Median):
    """Looks at a block as a whole."""

    def combine(self, values: Array, weights: Array) -> Array:
        return median(values) + 0.01 * float(values.max())


class Counted(Median):
    """Puts the number of examples into the model."""

    def combine(self, values: Array, weights: Array) -> Array:
        return median(values) + 1e-3 * float(weights.sum())


class Narrow(Median):
    """Computes in float32."""

    def combine(self, values: Array, weights: Array) -> Array:
        return np.median(values.astype(np.float32), axis=0).astype(np.float64)


class Remembers(Median):
    """Keeps what it saw in itself."""

    def __init__(self, config: Config | None = None) -> None:
        super().__init__(config)
        self.calls = 0

    def combine(self, values: Array, weights: Array) -> Array:
        self.calls += 1
        return median(values) + 0.1 * self.calls


class Averages(Median):
    """Is moved by anyone."""

    def combine(self, values: Array, weights: Array) -> Array:
        return np.asarray(values.mean(axis=0))


class Overflows(Median):
    def combine(self, values: Array, weights: Array) -> Array:
        return np.asarray(values.sum(axis=0) * 1e308)


class ByNorm(Central):
    """Weighs by the place of an update, where norms are equal."""

    def choose(self, geometry: Geometry, weights: Array) -> Array:
        return np.arange(1.0, len(weights) + 1)


class Negative(Central):
    def choose(self, geometry: Geometry, weights: Array) -> Array:
        return -weights


class Stepless(Halfway):
    """Loses its state."""

    def aggregate(self, updates: Updates, r: Round) -> Recipe:
        return Recipe(
            range(len(updates)), updates.weights, lambda b: (median(b.values), {}), lambda values, _: median(values)
        )


class Undescribed(Config):
    share: float = Field(0.5)


class Silent(CoordinateAggregator[Undescribed]):
    def combine(self, values: Array, weights: Array) -> Array:
        return median(values)


Test = Callable[[AggregatorSuite], None]


def suite(aggregator: type[AnyAggregator[Any]], **declared: Any) -> AggregatorSuite:
    made: AggregatorSuite = type("Suite", (AggregatorSuite,), {"aggregator": aggregator, **declared})()
    return made


S = AggregatorSuite


@pytest.mark.parametrize(
    ("wrong", "test", "message"),
    [
        (First, S.test_the_order_of_the_updates_does_not_matter, "in another order gave another model"),
        (First, S.test_equal_updates_are_one_choice_whoever_sends_them, "two equal updates each"),
        (ByNorm, S.test_the_order_of_the_updates_does_not_matter, "in another order gave another model"),
        (Spreads, S.test_blocks_of_any_size_give_the_same_model, "the formula is not elementwise"),
        (Counted, S.test_only_the_ratio_of_the_weights_matters, "three times the examples"),
        (Narrow, S.test_updates_of_a_ten_thousandth_keep_their_digits, "something is rounded to float32"),
        (Remembers, S.test_a_step_done_again_gives_the_same, "state outside `state`"),
        (Overflows, S.test_the_state_goes_on_where_it_was, "would not be finite"),
        (Negative, S.test_the_state_goes_on_where_it_was, "wanted are 7 finite numbers"),
        (Stepless, S.test_the_state_goes_on_where_it_was, "made the states \\[\\], initial\\(\\) names \\['m'\\]"),
        (Silent, S.test_every_setting_says_what_it_means, "without a description: share"),
        (Counted, S.test_plain_tensors_are_averaged_and_not_stepped, "was stepped"),
    ],
)  # fmt: skip
def test_a_wrong_aggregator_fails_the_right_test_with_a_readable_message(
    wrong: type[AnyAggregator[Any]], test: Test, message: str
) -> None:
    with pytest.raises((AssertionError, FedkError), match=message):
        test(suite(wrong))


def test_one_that_is_moved_by_liars_may_not_say_that_it_resists_them() -> None:
    test = S.test_liars_move_it_no_further_than_the_honest
    test(suite(Median, resists=3))
    with pytest.raises(AssertionError, match=r"1 of 7 moved the model by \S+ radii"):
        test(suite(Averages, resists=1))
    with pytest.raises(AssertionError, match="4 of 7 moved the model"):
        test(suite(Median, resists=4))


TESTS = [name for cls in (AggregatorSuite, Suite) for name in vars(cls) if name.startswith("test_")]


@pytest.mark.parametrize("name", TESTS)
@pytest.mark.parametrize("right", [Median, Central, Halfway, Around])
def test_a_right_aggregator_passes_or_skips(right: type[AnyAggregator[Any]], name: str) -> None:
    whole = {"driver": lambda _: composed(Mean(), [Around()])} if right is Around else {}
    test: Test = getattr(AggregatorSuite, name)
    try:
        test(suite(right, **whole))
    except pytest.skip.Exception as skipped:
        words = str(skipped)
    else:
        return
    assert any(reason in words for reason in ("declares", "is no MeanAggregator", "textbook")), words
