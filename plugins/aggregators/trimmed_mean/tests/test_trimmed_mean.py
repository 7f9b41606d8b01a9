from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from pydantic import ValidationError

from fedk.api.aggregator import Array
from fedk.testing import AggregatorSuite, Textbook, Told, aggregate
from fedk_plugin_trimmed_mean import TrimmedMean


class Yin:
    """Definition 2, one coordinate at a time."""

    def __init__(self, beta: float) -> None:
        self.beta = beta

    def __call__(self, x: Array, told: Sequence[Told]) -> Array:
        columns = np.array([t.w for t in told]).T.tolist()
        left_out = int(np.floor(self.beta * len(told)))
        kept = [sorted(column)[left_out : len(told) - left_out] for column in columns]
        return np.array([sum(values) / len(values) for values in kept])


class TestTrimmedMean(AggregatorSuite):
    aggregator = TrimmedMean
    resists = 1
    readme = Path(__file__).parents[1] / "README.md"

    def textbook(self) -> Textbook:
        return Yin(0.2)


class TestTrimmedAlmostToTheMedian(AggregatorSuite):
    aggregator = TrimmedMean
    config: ClassVar = {"beta": 0.45}
    resists = 3

    def textbook(self) -> Textbook:
        return Yin(0.45)


def test_one_of_five_at_each_end_by_hand() -> None:
    updates = [{"w": [w]} for w in (-900.0, 1.0, 2.0, 6.0, 50.0)]
    model, _ = aggregate("trimmed-mean", {"w": [0.0]}, updates, weights=[10**6, 1, 1, 1, 1])
    assert model["w"].tolist() == [3.0]


@pytest.mark.parametrize(("beta", "k", "left"), [(0.29, 100, 42), (0.1, 10, 8), (0.2, 4, 4), (0.0, 5, 5), (0.49, 3, 1)])
def test_the_number_left_is_what_the_share_says_on_paper(beta: float, k: int, left: int) -> None:
    """0.29 · 100 is 28.999999999999996."""
    model, _ = aggregate(TrimmedMean, {"w": [0.0]}, [{"w": [float(n)]} for n in range(k)], config={"beta": beta})
    cut = (k - left) // 2
    assert model["w"] == pytest.approx([np.mean(range(cut, k - cut))])


def test_half_at_each_end_would_leave_nothing() -> None:
    with pytest.raises(ValidationError, match=r"less than 0\.5"):
        aggregate(TrimmedMean, {"w": [0.0]}, [{"w": [1.0]}], config={"beta": 0.5})
