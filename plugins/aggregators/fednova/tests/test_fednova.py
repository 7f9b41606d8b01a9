from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedk.api.aggregator import Array
from fedk.api.errors import Refused
from fedk.testing import AggregatorSuite, Answer, Textbook, Told, aggregate
from fedk_plugin_fednova import FedNova


def wang(x: Array, told: Sequence[Told]) -> Array:
    """Equation 4 with the τ_eff below equation 6, p normalised over those who answered."""
    n = sum(t.num_examples for t in told)
    tau_eff = sum(t.num_examples / n * t.metrics["local_steps"] for t in told)
    d = sum((t.num_examples / n * t.delta / t.metrics["local_steps"] for t in told), np.zeros_like(x))
    return np.asarray(x + tau_eff * d)


class TestFedNova(AggregatorSuite):
    aggregator = FedNova
    readme = Path(__file__).parents[1] / "README.md"

    def answer(self, tensors: dict[str, Any], number: int = 0, num_examples: int = 1) -> Answer:
        return replace(super().answer(tensors, number, num_examples), metrics={"local_steps": 1.5 + 2 * number})

    def textbook(self) -> Textbook:
        return wang


def client(w: float, num_examples: int, local_steps: float) -> Answer:
    return Answer({"w": [w]}, num_examples, {"local_steps": local_steps})


def test_two_steps_of_1_example_and_four_steps_of_3_by_hand() -> None:
    """τ_eff = (1·2 + 3·4)/4 = 3.5; mean of 2/2 and 8/4 by examples 1.75."""
    model, _ = aggregate(FedNova, {"w": [0.0]}, [client(2.0, 1, 2), client(8.0, 3, 4)])
    assert model["w"] == pytest.approx([6.125])


def test_where_all_take_the_same_number_of_steps_it_is_fedavg() -> None:
    clients = [client(2.0, 1, 7), client(8.0, 3, 7)]
    fedavg, _ = aggregate("fedavg", {"w": [0.5]}, clients)
    model, _ = aggregate(FedNova, {"w": [0.5]}, clients)
    assert model["w"] == pytest.approx(fedavg["w"])


@pytest.mark.parametrize("steps", [-1.0, 0.0, 0.99, 1.1e6, float("nan"), float("inf")])
def test_a_number_of_steps_that_cannot_be_is_refused(steps: float) -> None:
    with pytest.raises(Refused, match="bad-metric: local_steps is"):
        aggregate(FedNova, {"w": [0.0]}, [client(1.0, 1, steps)])
