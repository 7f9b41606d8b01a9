from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from fedk.api.aggregator import Array
from fedk.testing import AggregatorSuite, Textbook, Told, aggregate
from fedk_plugin_fedavg import FedAvg


def mcmahan(_: Array, told: Sequence[Told]) -> Array:
    """Algorithm 1, the server's last line."""
    return np.average([t.w for t in told], axis=0, weights=[t.num_examples for t in told])


def plain_mean(_: Array, told: Sequence[Told]) -> Array:
    return np.asarray(np.mean([t.w for t in told], axis=0))


class TestByExamples(AggregatorSuite):
    aggregator = FedAvg
    gives_mean = True
    readme = Path(__file__).parents[1] / "README.md"

    def textbook(self) -> Textbook:
        return mcmahan


class TestUniform(AggregatorSuite):
    aggregator = FedAvg
    config: ClassVar = {"weighting": "uniform"}
    gives_mean = True

    def textbook(self) -> Textbook:
        return plain_mean


def test_30_examples_at_1_and_10_at_5_give_2() -> None:
    model, _ = aggregate(FedAvg, {"w": np.zeros(1)}, [{"w": [1.0]}, {"w": [5.0]}], weights=[30, 10])
    assert model["w"] == [2.0]


def test_uniform_gives_3() -> None:
    updates = [{"w": [1.0]}, {"w": [5.0]}]
    model, _ = aggregate("fedavg", {"w": np.zeros(1)}, updates, weights=[30, 10], config={"weighting": "uniform"})
    assert model["w"] == [3.0]
