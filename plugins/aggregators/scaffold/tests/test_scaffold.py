from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from fedk.api.aggregator import Array
from fedk.api.codec import Safetensors
from fedk.api.errors import Refused
from fedk.testing import AggregatorSuite, Answer, Told, aggregate
from fedk_plugin_scaffold import Scaffold


class Karimireddy:
    """Algorithm 1, lines 16 and 17. c moves nothing at the server: it shows in what clients make of it."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate

    def __call__(self, x: Array, told: Sequence[Told]) -> Array:
        delta = np.mean([t.delta for t in told], axis=0)
        return np.asarray(x + self.learning_rate * delta)


class TestScaffold(AggregatorSuite):
    aggregator = Scaffold
    readme = Path(__file__).parents[1] / "README.md"

    def textbook(self) -> Karimireddy:
        return Karimireddy(1.0)


class TestHalfSteps(AggregatorSuite):
    aggregator = Scaffold
    config: ClassVar = {"learning_rate": 0.5}

    def textbook(self) -> Karimireddy:
        return Karimireddy(0.5)


def client(w: float, control: float) -> Answer:
    return Answer({"w": [w]}, sets={"control": {"w": [control]}})


def test_two_of_four_clients_by_hand() -> None:
    """x' = (1 + 3)/2; c' = 1/4·(-2 - 6) = -2; in the next round c'' = -2 + 1/4·3."""
    model, state = aggregate(Scaffold, {"w": [0.0]}, [client(1.0, -2.0), client(3.0, -6.0)], population=4)
    assert model["w"] == [2.0]
    assert control(state.tensors) == [-2.0]
    _, state = aggregate(Scaffold, model, [client(2.0, 3.0)], state=state, population=4)
    assert control(state.tensors) == [-1.25]


def test_examples_do_not_count() -> None:
    model, _ = aggregate(Scaffold, {"w": [0.0]}, [client(1.0, 0.0), client(3.0, 0.0)], weights=[1, 1000])
    assert model["w"] == [2.0]


def test_an_update_without_its_control_is_refused() -> None:
    with pytest.raises(Refused, match="bad-names: blobs: missing control"):
        aggregate(Scaffold, {"w": [0.0]}, [{"w": [1.0]}])


def control(state: bytes) -> list[float]:
    found: list[float] = Safetensors().decode(state)["c/w"].tolist()
    return found
