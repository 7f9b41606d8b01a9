from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from fedk.api.aggregator import Array
from fedk.testing import AggregatorSuite, Told, aggregate
from fedk_plugin_fedadam import FedAdam


class Reddi:
    """Algorithm 2, the line of FedAdam; `after` gives η from the round's number."""

    def __init__(self, v: float = 1e-6, correction: int | None = None) -> None:
        self.m, self.v, self.t, self.correction = np.asarray(0.0), np.asarray(v), 0, correction

    def __call__(self, x: Array, told: Sequence[Told]) -> Array:
        self.t += 1
        examples = np.array([t.num_examples for t in told], float)
        delta = np.average([t.delta for t in told], axis=0, weights=examples)
        self.m = 0.9 * self.m + 0.1 * delta
        self.v = 0.99 * self.v + 0.01 * delta * delta
        return np.asarray(x + self.rate() * self.m / (np.sqrt(self.v) + 1e-3))

    def rate(self) -> float:
        if self.correction is None:
            return 0.1
        t = self.t + self.correction
        return float(0.1 * np.sqrt(1 - 0.99**t) / (1 - 0.9**t))


class TestFedAdam(AggregatorSuite):
    aggregator = FedAdam
    readme = Path(__file__).parents[1] / "README.md"

    def textbook(self) -> Reddi:
        return Reddi()


class TestCorrectedAsKingmaAndBaDo(AggregatorSuite):
    aggregator = FedAdam
    config: ClassVar = {"bias_correction": "adam"}

    def textbook(self) -> Reddi:
        return Reddi(correction=0)


class TestAsFlowerHasIt(AggregatorSuite):
    aggregator = FedAdam
    config: ClassVar = {"bias_correction": "flower", "initial_second_moment": 0.0}

    def textbook(self) -> Reddi:
        return Reddi(v=0.0, correction=1)


@pytest.mark.parametrize(
    ("correction", "rate"),
    [("none", 1.0), ("adam", (1 - 0.99) ** 0.5 / (1 - 0.9)), ("flower", (1 - 0.99**2) ** 0.5 / (1 - 0.9**2))],
)
def test_the_first_step_by_hand(correction: str, rate: float) -> None:
    config = {"learning_rate": 1.0, "bias_correction": correction}
    model, _ = aggregate(FedAdam, {"w": [0.0]}, [{"w": [1.0]}], config=config)
    assert model["w"] == pytest.approx([rate * 0.1 / ((0.99e-6 + 0.01) ** 0.5 + 0.001)], rel=1e-12)


def test_corrected_as_adam_the_first_step_is_eta_whatever_was_moved() -> None:
    config = {"learning_rate": 0.5, "bias_correction": "adam", "initial_second_moment": 0.0, "tau": 1e-12}
    model, _ = aggregate(FedAdam, {"w": [0.0, 0.0]}, [{"w": [1e-3, 40.0]}], config=config)
    assert model["w"] == pytest.approx([0.5, 0.5])
