"""What aggregators share, by hand and beside plain numpy. A plugin's own line is the plugin's to test."""

import numpy as np
import pytest
from pydantic import ValidationError

from fedk.api.aggregator import Array, Round, State, Update
from fedk.api.formulas import Adaptive, AdaptiveConfig, DecayingConfig, WeightedMean, WeightingConfig


class Sum(Adaptive[AdaptiveConfig]):
    def second_moment(self, v: Array, d: Array) -> Array:
        return v + d**2


class Corrected(Sum):
    def rate(self, r: Round) -> float:
        return self.config.learning_rate / r.number


class Mean(WeightedMean[WeightingConfig]):
    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return mean, {}


FIRST = Round(number=1, population=2, asked=2)


def array(*values: float) -> Array:
    return np.array(values)


def test_an_update_counts_by_its_examples_or_as_any_other() -> None:
    update = Update("k", "c", 30)
    assert Mean().weight(update, FIRST) == 30.0
    assert Mean(WeightingConfig(weighting="uniform")).weight(update, FIRST) == 1.0


def test_an_adaptive_optimiser_is_weighted_alike() -> None:
    assert Sum(AdaptiveConfig(weighting="uniform")).weight(Update("k", "c", 30), FIRST) == 1.0


def test_the_first_moment_begins_at_zero_and_the_second_at_tau_squared_or_as_it_is_set() -> None:
    assert Sum(AdaptiveConfig(tau=0.1)).initial() == {"m": 0.0, "v": pytest.approx(0.01)}
    assert Sum(AdaptiveConfig(initial_second_moment=0.0)).initial() == {"m": 0.0, "v": 0.0}


def test_two_steps_by_hand() -> None:
    """η = 1, β₁ = ½, τ = 1, v₋₁ = 0: d = 2 makes m = 1, v = 4; then d = -1 makes m = 0, v = 5."""
    config = AdaptiveConfig(learning_rate=1.0, beta_1=0.5, tau=1.0, initial_second_moment=0.0)
    x, state = Sum(config).step(array(3.0), array(5.0), {"m": array(0.0), "v": array(0.0)}, FIRST)
    assert np.concatenate([x, state["m"], state["v"]]) == pytest.approx([3 + 1 / 3, 1, 4])
    x, state = Sum(config).step(x, x - 1, state, FIRST)
    assert np.concatenate([x, state["m"], state["v"]]) == pytest.approx([3 + 1 / 3, 0, 5])


def test_what_did_not_move_stays_where_it_is() -> None:
    zero = AdaptiveConfig(initial_second_moment=0.0)
    x, _ = Sum(zero).step(array(7.0), array(7.0), {"m": array(0.0), "v": array(0.0)}, FIRST)
    assert x == [7.0]


def test_a_plugin_may_change_the_rate_from_round_to_round() -> None:
    moments = {"m": array(0.0), "v": array(1.0)}
    once, _ = Corrected().step(array(0.0), array(1.0), moments, FIRST)
    fourth, _ = Corrected().step(array(0.0), array(1.0), moments, Round(number=4, population=2, asked=2))
    assert once == pytest.approx(4 * fourth)


@pytest.mark.parametrize(("setting", "value"), [("tau", 0.0), ("beta_1", 1.0), ("beta_2", 1.0), ("learning_rate", 0.0)])
def test_settings_for_which_the_formula_is_not_defined_are_refused(setting: str, value: float) -> None:
    with pytest.raises(ValidationError, match=setting):
        DecayingConfig.model_validate({setting: value})
