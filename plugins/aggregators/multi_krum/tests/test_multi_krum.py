from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from fedk.api.aggregator import Array
from fedk.api.errors import FormulaError
from fedk.testing import AggregatorSuite, Textbook, Told, aggregate
from fedk_plugin_multi_krum import MultiKrum


class Blanchard:
    """Section 5, by pairs."""

    def __init__(self, f: int = 1, m: int | None = None, *, weighted: bool = False) -> None:
        self.f, self.m, self.weighted = f, m, weighted

    def __call__(self, x: Array, told: Sequence[Told]) -> Array:
        neighbours = max(1, len(told) - self.f - 2)
        scores = []
        for i, mine in enumerate(told):
            squares = sorted(float(((mine.delta - t.delta) ** 2).sum()) for j, t in enumerate(told) if j != i)
            scores.append(sum(squares[:neighbours]))
        best = sorted(range(len(told)), key=lambda i: scores[i])[: self.m or neighbours]
        weights = [told[i].num_examples if self.weighted else 1 for i in best]
        return np.asarray(np.average([told[i].w for i in best], axis=0, weights=weights))


class TestMultiKrum(AggregatorSuite):
    aggregator = MultiKrum
    resists = 1
    readme = Path(__file__).parents[1] / "README.md"

    def textbook(self) -> Textbook:
        return Blanchard()


class TestThreeByTheirExamples(AggregatorSuite):
    aggregator = MultiKrum
    config: ClassVar = {"byzantine": 2, "m": 3, "weighting": "examples"}
    resists = 2

    def textbook(self) -> Textbook:
        return Blanchard(2, 3, weighted=True)


UPDATES = [{"w": [w]} for w in (0.0, 1.0, 2.0, 3.0, 100.0)]


def test_the_two_amid_the_others_by_hand() -> None:
    """f = 1, n = 5: n - f - 2 = 2 neighbours, and 2 are averaged: 1 and 2, each with scores 1 + 1."""
    model, _ = aggregate("multi-krum", {"w": [0.0]}, UPDATES, weights=[1, 1, 3, 1, 1])
    assert model["w"].tolist() == [1.5]


def test_by_examples_as_flower_has_it() -> None:
    model, _ = aggregate(MultiKrum, {"w": [0.0]}, UPDATES, weights=[1, 1, 3, 1, 1], config={"weighting": "examples"})
    assert model["w"].tolist() == [1.75]


def test_one_alone_is_krums_choice() -> None:
    model, _ = aggregate(MultiKrum, {"w": [0.0]}, UPDATES, config={"m": 1})
    assert model["w"].tolist() == [1.0]


def test_more_chosen_than_there_are_is_refused_by_number() -> None:
    with pytest.raises(FormulaError, match="MultiKrum needs at least 6 updates, got 5"):
        aggregate(MultiKrum, {"w": [0.0]}, UPDATES, config={"m": 6})
