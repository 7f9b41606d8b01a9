from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from fedk.api.aggregator import Array
from fedk.api.errors import Refused
from fedk.testing import AggregatorSuite, Answer, Told, aggregate
from fedk_plugin_qfedavg import QFedAvg


class Li:
    """Algorithm 2, lines 5 to 8."""

    def __init__(self, q: float) -> None:
        self.q, self.L = q, 1 / 0.1

    def __call__(self, x: Array, told: Sequence[Told]) -> Array:
        deltas, h = [], 0.0
        for t in told:
            f, dw = t.metrics["global_loss"] + 1e-10, self.L * (-t.delta)
            deltas.append(f**self.q * dw)
            h += self.q * f ** (self.q - 1) * float(dw @ dw) + self.L * f**self.q
        return np.asarray(x - np.sum(deltas, axis=0) / h)


class Suite(AggregatorSuite):
    aggregator = QFedAvg

    def answer(self, tensors: dict[str, Any], number: int = 0, num_examples: int = 1) -> Answer:
        return replace(super().answer(tensors, number, num_examples), metrics={"global_loss": 0.3 * number})

    def textbook(self) -> Li:
        return Li(self.config.get("q", 0.1))


class TestQFedAvg(Suite):
    readme = Path(__file__).parents[1] / "README.md"


class TestFairer(Suite):
    config: ClassVar = {"q": 5.0}


class TestPlainMean(Suite):
    config: ClassVar = {"q": 0.0}


del Suite  # not a test by itself


def client(w: float, loss: float) -> Answer:
    return Answer({"w": [w]}, metrics={"global_loss": loss})


def test_losses_of_1_and_3_by_hand() -> None:
    """q = 1, L = 10: h = 100 + 10 and 100 + 30; w' = (10 + 30)/240."""
    model, _ = aggregate(QFedAvg, {"w": [0.0]}, [client(1.0, 1.0), client(1.0, 3.0)], config={"q": 1.0})
    assert model["w"] == pytest.approx([1 / 6])


def test_q_0_is_the_plain_mean() -> None:
    clients = [client(1.0, 1.0), client(5.0, 3.0)]
    model, _ = aggregate(QFedAvg, {"w": [0.0]}, clients, weights=[30, 10], config={"q": 0.0})
    assert model["w"] == pytest.approx([3.0])


@pytest.mark.parametrize("loss", [-1e-9, 1.1e6, float("nan"), float("inf")])
def test_a_loss_that_cannot_be_is_refused(loss: float) -> None:
    with pytest.raises(Refused, match="bad-metric: global_loss is"):
        aggregate(QFedAvg, {"w": [0.0]}, [client(1.0, loss)])


@pytest.mark.parametrize("q", [0.0, 0.1, 1.0, 20.0])
@pytest.mark.parametrize("loss", [0.0, 1e6])
def test_the_smallest_and_the_largest_loss_give_a_finite_model(q: float, loss: float) -> None:
    model, _ = aggregate(QFedAvg, {"w": [0.0]}, [client(1.0, loss)], config={"q": q})
    assert 0 <= model["w"][0] <= 1
