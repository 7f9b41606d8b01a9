from pathlib import Path

import numpy as np

from fedk.testing import AggregatorSuite, aggregate
from fedk.testing.readme import key_table
from fedk_plugin_fedavg import FedAvg, FedAvgConfig


class TestByExamples(AggregatorSuite):
    aggregator = FedAvg
    gives_mean = True


class TestUniform(AggregatorSuite):
    aggregator = FedAvg
    config = {"weighting": "uniform"}  # noqa: RUF012 — read only
    gives_mean = True


def test_30_examples_at_1_and_10_at_5_give_2() -> None:
    model, _ = aggregate(FedAvg, {"w": np.zeros(1)}, [{"w": [1.0]}, {"w": [5.0]}], weights=[30, 10])
    assert model["w"] == [2.0]


def test_uniform_gives_3() -> None:
    updates = [{"w": [1.0]}, {"w": [5.0]}]
    model, _ = aggregate("fedavg", {"w": np.zeros(1)}, updates, weights=[30, 10], config={"weighting": "uniform"})
    assert model["w"] == [3.0]


def test_the_readme_has_the_table_of_keys() -> None:
    readme = Path(__file__).parents[1] / "README.md"
    assert key_table(FedAvgConfig) in readme.read_text("utf-8")
