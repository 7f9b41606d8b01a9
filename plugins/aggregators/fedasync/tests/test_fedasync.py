from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from fedk.api.aggregator import Array
from fedk.testing import AggregatorSuite, Answer, Told, aggregate
from fedk_plugin_fedasync import FedAsync


class Xie:
    """Algorithm 1 with a buffer: what each model alone would move x by, averaged."""

    def __init__(self, s: Callable[[int], float]) -> None:
        self.s = s

    def __call__(self, x: Array, told: Sequence[Told]) -> Array:
        alphas = [0.6 * self.s(t.staleness) for t in told]
        moves = [(1 - a) * x + a * t.w - x for a, t in zip(alphas, told, strict=True)]
        return np.asarray(x + np.mean(moves, axis=0))


class Suite(AggregatorSuite):
    aggregator = FedAsync

    def answer(self, tensors: dict[str, Any], number: int = 0, num_examples: int = 1) -> Answer:
        return replace(super().answer(tensors, number, num_examples), staleness=2 * number)


class TestPolynomial(Suite):
    readme = Path(__file__).parents[1] / "README.md"

    def textbook(self) -> Xie:
        return Xie(lambda t: (t + 1) ** -0.5)


class TestConstant(Suite):
    config: ClassVar = {"staleness": "constant"}

    def textbook(self) -> Xie:
        return Xie(lambda _: 1.0)


class TestHinge(Suite):
    config: ClassVar = {"staleness": "hinge", "a": 10.0, "b": 4}

    def textbook(self) -> Xie:
        return Xie(lambda t: 1.0 if t <= 4 else 1 / (10 * (t - 4) + 1))


del Suite  # not a test by itself


@pytest.mark.parametrize(
    ("config", "alpha"),
    [
        ({}, 0.6 / 2),
        ({"a": 1.0, "alpha": 0.8}, 0.8 / 4),
        ({"staleness": "constant"}, 0.6),
        ({"staleness": "hinge"}, 0.6),
        ({"staleness": "hinge", "a": 0.5, "b": 1}, 0.6 / 2),
    ],
)
def test_a_model_at_2_of_three_commits_ago_moves_0_to_2_alpha(config: dict[str, Any], alpha: float) -> None:
    model, _ = aggregate(FedAsync, {"w": [0.0]}, [Answer({"w": [2.0]}, staleness=3)], config=config)
    assert model["w"] == pytest.approx([2 * alpha])


def test_a_fresh_model_moves_the_global_one_by_alpha() -> None:
    model, _ = aggregate(FedAsync, {"w": [1.0]}, [{"w": [2.0]}])
    assert model["w"] == pytest.approx([1.6])
