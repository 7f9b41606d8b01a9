from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from fedk.api.aggregator import Array
from fedk.testing import AggregatorSuite, Told, aggregate
from fedk_plugin_fedyogi import FedYogi


class Reddi:
    """Algorithm 2, the line of FedYogi."""

    def __init__(self, v: float = 1e-6) -> None:
        self.m, self.v = np.asarray(0.0), np.asarray(v)

    def __call__(self, x: Array, told: Sequence[Told]) -> Array:
        examples = np.array([t.num_examples for t in told], float)
        delta = np.average([t.delta for t in told], axis=0, weights=examples)
        self.m = 0.9 * self.m + 0.1 * delta
        square = delta * delta
        self.v = np.where(
            self.v > square, self.v - 0.01 * square, np.where(self.v < square, self.v + 0.01 * square, self.v)
        )
        return np.asarray(x + 0.1 * self.m / (np.sqrt(self.v) + 1e-3))


class TestFedYogi(AggregatorSuite):
    aggregator = FedYogi
    readme = Path(__file__).parents[1] / "README.md"

    def textbook(self) -> Reddi:
        return Reddi()


class TestAsFlowerHasIt(AggregatorSuite):
    aggregator = FedYogi
    config: ClassVar = {"initial_second_moment": 0.0}

    def textbook(self) -> Reddi:
        return Reddi(v=0.0)


def test_the_first_step_by_hand() -> None:
    model, _ = aggregate(FedYogi, {"w": [0.0]}, [{"w": [1.0]}], config={"learning_rate": 1.0})
    assert model["w"] == pytest.approx([0.1 / (0.010001**0.5 + 0.001)], rel=1e-12)


def test_the_second_moment_goes_down_by_a_hundredth_of_a_small_square_where_adams_would_shrink_by_itself() -> None:
    """v = 4, d² = 1: Yogi 3.99, Adam 0.99·4 + 0.01 = 3.97."""
    config = {"initial_second_moment": 4.0, "learning_rate": 1.0, "tau": 1e-9}
    model, _ = aggregate(FedYogi, {"w": [0.0]}, [{"w": [1.0]}], config=config)
    assert model["w"] == pytest.approx([0.1 / 3.99**0.5])
