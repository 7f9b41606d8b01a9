from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedk.api.aggregator import Array
from fedk.testing import AggregatorSuite, Answer, Textbook, Told, aggregate
from fedk_plugin_fedbuff import FedBuff


def nguyen(x: Array, told: Sequence[Told]) -> Array:
    """Algorithm 1, with K the updates in the buffer and s(τ) = 1/√(1 + τ)."""
    buffer = np.zeros_like(x)
    for t in told:
        buffer += t.delta / np.sqrt(1 + t.staleness)
    return x + buffer / len(told)


class TestFedBuff(AggregatorSuite):
    aggregator = FedBuff
    readme = Path(__file__).parents[1] / "README.md"

    def answer(self, tensors: dict[str, Any], number: int = 0, num_examples: int = 1) -> Answer:
        return replace(super().answer(tensors, number, num_examples), staleness=number % 4)

    def textbook(self) -> Textbook:
        return nguyen


def test_a_fresh_update_by_2_and_one_by_4_of_three_commits_ago_give_2() -> None:
    clients = [Answer({"w": [2.0]}), Answer({"w": [4.0]}, staleness=3)]
    model, _ = aggregate(FedBuff, {"w": [0.0]}, clients)
    assert model["w"] == pytest.approx([2.0])


def test_an_update_is_the_difference_to_the_model_that_it_began_at() -> None:
    stale = Answer({"w": [7.0]}, staleness=3, base={"w": [5.0]})
    model, _ = aggregate(FedBuff, {"w": [1.0]}, [stale], config={"learning_rate": 0.5})
    assert model["w"] == pytest.approx([1.0 + 0.5 * 2.0 / 2.0])


def test_staleness_makes_the_step_shorter_and_hands_nobody_a_larger_share() -> None:
    all_stale, _ = aggregate(FedBuff, {"w": [0.0]}, [Answer({"w": [1.0]}, staleness=8)] * 5)
    assert all_stale["w"] == pytest.approx([1 / 3])
