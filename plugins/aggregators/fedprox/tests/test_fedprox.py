from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from fedk.api.aggregator import Array
from fedk.testing import AggregatorSuite, Textbook, Told, aggregate
from fedk_plugin_fedprox import FedProx, FedProxConfig


def plain_mean(_: Array, told: Sequence[Told]) -> Array:
    """Algorithm 2, its last line."""
    return np.asarray(np.mean([t.w for t in told], axis=0))


class TestFedProx(AggregatorSuite):
    aggregator = FedProx
    gives_mean = True
    readme = Path(__file__).parents[1] / "README.md"

    def textbook(self) -> Textbook:
        return plain_mean


class TestAsFlowerHasIt(AggregatorSuite):
    aggregator = FedProx
    config: ClassVar = {"weighting": "examples"}
    gives_mean = True


def test_30_examples_at_1_and_10_at_5_give_3_and_by_examples_2() -> None:
    for config, wanted in ({}, 3.0), ({"weighting": "examples"}, 2.0):
        model, _ = aggregate(FedProx, {"w": [0.0]}, [{"w": [1.0]}, {"w": [5.0]}], [30, 10], config)
        assert model["w"] == [wanted]


def test_clients_get_mu_as_a_setting() -> None:
    assert FedProx().client_settings() == {"proximal_mu": 0.1}
    assert FedProx(FedProxConfig(proximal_mu=1.0)).client_settings() == {"proximal_mu": 1.0}
