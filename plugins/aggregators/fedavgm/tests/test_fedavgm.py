from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from fedk.api.aggregator import Array
from fedk.testing import AggregatorSuite, Told, aggregate
from fedk_plugin_fedavgm import FedAvgM


class Hsu:
    """Section 4.3, with the velocity's sign turned: Δ here is what the model is to move by."""

    def __init__(self, learning_rate: float, momentum: float) -> None:
        self.learning_rate, self.momentum, self.v = learning_rate, momentum, np.asarray(0.0)

    def __call__(self, x: Array, told: Sequence[Told]) -> Array:
        n = sum(t.num_examples for t in told)
        delta = sum((t.num_examples * t.w for t in told), np.zeros_like(x)) / n - x
        self.v = self.momentum * self.v + delta
        return x + self.learning_rate * self.v


class TestFedAvgM(AggregatorSuite):
    aggregator = FedAvgM
    readme = Path(__file__).parents[1] / "README.md"

    def textbook(self) -> Hsu:
        return Hsu(1.0, 0.9)


class TestAsFlowerHasIt(AggregatorSuite):
    """Without momentum, η = 1 gives the mean; not byte for byte, as the step is added to x."""

    aggregator = FedAvgM
    config: ClassVar = {"momentum": 0.0}

    def textbook(self) -> Hsu:
        return Hsu(1.0, 0.0)


def test_clients_at_1_and_3_give_2_and_what_stays_there_goes_on_by_nine_tenths() -> None:
    model, state = aggregate("fedavgm", {"w": [0.0]}, [{"w": [1.0]}, {"w": [3.0]}])
    assert model["w"] == pytest.approx([2.0])
    model, _ = aggregate("fedavgm", model, [{"w": [2.0]}], state=state)
    assert model["w"] == pytest.approx([3.8])
