import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from fedk.aggregation.expected import Expected, check_numbers, expect, largest_element
from fedk.api.aggregator import Array, Config, MeanAggregator, Round, State
from fedk.api.errors import Refused


class Declared(MeanAggregator[Config]):
    metrics = {"loss": (0.0, 100.0), "local_steps": (1.0, math.inf)}  # noqa: RUF012 — read only

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return mean, {}


EXPECTED = Expected(None, metrics=Declared.metrics)
GOOD = {"loss": 0.5, "local_steps": 10.0}


@pytest.mark.parametrize(
    ("examples", "metrics", "refusal"),
    [
        (0, GOOD, "no-examples: num_examples is 0, an update needs at least 1"),
        (-3, GOOD, "no-examples: num_examples is -3, an update needs at least 1"),
        (2**31 + 1, GOOD, "too-large: num_examples is 2,147,483,649, the most is 2,147,483,648 (limits.max_examples)"),
        (1, {"loss": 0.5}, "bad-metric: local_steps is missing; the aggregator needs loss, local_steps"),
        (1, {**GOOD, "loss": math.nan}, "bad-metric: loss is nan, a metric is a finite number"),
        (1, {**GOOD, "accuracy": math.inf}, "bad-metric: accuracy is inf, a metric is a finite number"),
        (1, {**GOOD, "loss": -1e-9}, "bad-metric: loss is -1e-09, the aggregator takes 0 to 100"),
        (1, {**GOOD, "loss": 101.0}, "bad-metric: loss is 101, the aggregator takes 0 to 100"),
    ],
)
def test_numbers_that_no_formula_could_use_are_refused(examples: int, metrics: dict[str, float], refusal: str) -> None:
    with pytest.raises(Refused) as refused:
        check_numbers(EXPECTED, examples, metrics)
    assert str(refused.value) == refusal


def test_bounds_are_included_and_other_metrics_are_free() -> None:
    check_numbers(EXPECTED, 2**31, {"loss": 100.0, "local_steps": 1.0, "accuracy": -5.0})


def test_what_the_aggregator_declares_is_expected(bench: Any) -> None:
    expected = expect(Declared(), bench.model({"w": np.zeros(1)}), max_examples=5)
    assert (expected.metrics, expected.max_examples, expected.blobs) == (Declared.metrics, 5, ("model",))


def test_the_largest_element_is_looked_for_in_all_floats_and_no_integers(bench: Any) -> None:
    arrays = {
        "big": np.array([2**40]),
        "w": np.linspace(-3, 1, 200_000, dtype=np.float32),
        "half": np.array([2.5], ml_dtypes.bfloat16),
        "bn.running_var": np.array([-9.5]),
        "none": np.zeros(0),
    }
    assert largest_element(bench.model(arrays)) == 9.5
    assert largest_element(bench.model({name: arrays[name] for name in ("w", "half")})) == 3.0
    assert largest_element(bench.model({"big": arrays["big"]})) == 0.0
