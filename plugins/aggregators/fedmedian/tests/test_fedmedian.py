from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fedk.api.aggregator import Array
from fedk.testing import AggregatorSuite, Textbook, Told, aggregate
from fedk_plugin_fedmedian import FedMedian


def yin(_: Array, told: Sequence[Told]) -> Array:
    """Definition 1."""
    return np.asarray(np.median([t.w for t in told], axis=0))


class TestFedMedian(AggregatorSuite):
    aggregator = FedMedian
    gives_mean = True
    resists = 3
    readme = Path(__file__).parents[1] / "README.md"

    def textbook(self) -> Textbook:
        return yin


def test_the_middle_one_by_hand() -> None:
    model, _ = aggregate(FedMedian, {"w": [0.0, 0.0]}, [{"w": [1.0, 9.0]}, {"w": [2.0, -9.0]}, {"w": [900.0, 3.0]}])
    assert model["w"].tolist() == [2.0, 3.0]


def test_of_an_even_number_the_middle_two_and_no_weights() -> None:
    updates = [{"w": [1.0]}, {"w": [2.0]}, {"w": [4.0]}, {"w": [900.0]}]
    model, _ = aggregate("fedmedian", {"w": [0.0]}, updates, weights=[1, 1, 1, 10**6])
    assert model["w"].tolist() == [3.0]


@pytest.mark.parametrize("k", [1, 2, 31, 32, 33, 120])
def test_it_is_numpys_median_to_the_last_bit_through_network_and_sort(k: int) -> None:
    updates = [{"w": np.random.default_rng(n).standard_normal(50)} for n in range(k)]
    model, _ = aggregate(FedMedian, {"w": np.zeros(50)}, updates)
    assert model["w"].tobytes() == np.median([u["w"] for u in updates], axis=0).tobytes()
