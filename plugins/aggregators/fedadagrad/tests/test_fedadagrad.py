from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from fedk.api.aggregator import Array
from fedk.testing import AggregatorSuite, Told, aggregate
from fedk_plugin_fedadagrad import FedAdagrad


class Reddi:
    """Algorithm 2, the line of FedAdagrad."""

    def __init__(self, *, beta_1: float, v: float) -> None:
        self.beta_1, self.v, self.m = beta_1, np.asarray(v), np.asarray(0.0)

    def __call__(self, x: Array, told: Sequence[Told]) -> Array:
        examples = np.array([t.num_examples for t in told], float)
        delta = np.average([t.delta for t in told], axis=0, weights=examples)
        self.m = self.beta_1 * self.m + (1 - self.beta_1) * delta
        self.v = self.v + delta * delta
        return np.asarray(x + 0.1 * self.m / (np.sqrt(self.v) + 1e-3))


class TestFedAdagrad(AggregatorSuite):
    aggregator = FedAdagrad
    readme = Path(__file__).parents[1] / "README.md"

    def textbook(self) -> Reddi:
        return Reddi(beta_1=0.0, v=1e-6)


class TestAsFlowerHasIt(AggregatorSuite):
    aggregator = FedAdagrad
    config: ClassVar = {"initial_second_moment": 0.0}

    def textbook(self) -> Reddi:
        return Reddi(beta_1=0.0, v=0.0)


class TestWithMomentum(AggregatorSuite):
    aggregator = FedAdagrad
    config: ClassVar = {"beta_1": 0.9}

    def textbook(self) -> Reddi:
        return Reddi(beta_1=0.9, v=1e-6)


def test_the_first_step_to_1_is_1_over_the_root_of_1_and_tau() -> None:
    model, _ = aggregate(FedAdagrad, {"w": [0.0]}, [{"w": [1.0]}], config={"learning_rate": 1.0})
    assert model["w"] == pytest.approx([1 / (1.000001**0.5 + 0.001)], rel=1e-12)


def test_four_equal_moves_halve_the_step() -> None:
    model, state, moved = {"w": np.zeros(1)}, None, []
    for _ in range(4):
        before = model["w"][0]
        model, state = aggregate(FedAdagrad, model, [{"w": [before + 1.0]}], state=state, config={"tau": 1e-9})
        moved.append(model["w"][0] - before)
    assert moved == pytest.approx([0.1, 0.1 / 2**0.5, 0.1 / 3**0.5, 0.05])
