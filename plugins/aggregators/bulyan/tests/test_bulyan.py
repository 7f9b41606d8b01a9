from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from fedk.api.aggregator import Array
from fedk.api.errors import FormulaError
from fedk.testing import AggregatorSuite, Textbook, Told, aggregate
from fedk_plugin_bulyan import Bulyan


class ElMhamdi:
    """Section 4, by pairs and by coordinates."""

    def __init__(self, f: int, *, one_pass: bool = False) -> None:
        self.f, self.one_pass = f, one_pass

    def __call__(self, x: Array, told: Sequence[Told]) -> Array:
        vectors = [t.w for t in told]
        picks = [vectors[i] for i in self.picks(vectors)]
        return np.array([self.near(list(column)) for column in np.array(picks).T])

    def picks(self, vectors: Sequence[Array]) -> list[int]:
        left, found = list(range(len(vectors))), list[int]()
        wanted = len(vectors) - 2 * self.f
        if self.one_pass:
            scores = self.scores(vectors, left)
            return sorted(left, key=lambda i: scores[i])[:wanted]
        while len(found) < wanted:
            scores = self.scores(vectors, left)
            found.append(min(left, key=lambda i: scores[i]))
            left.remove(found[-1])
        return found

    def scores(self, vectors: Sequence[Array], left: Sequence[int]) -> dict[int, float]:
        neighbours, scores = max(1, len(left) - self.f - 2), {}
        for i in left:
            squares = sorted(float(((vectors[i] - vectors[j]) ** 2).sum()) for j in left if j != i)
            scores[i] = sum(squares[:neighbours])
        return scores

    def near(self, values: list[float]) -> float:
        middle = float(np.median(values))
        nearest = sorted(values, key=lambda value: abs(value - middle))[: len(values) - 2 * self.f]
        return sum(nearest) / len(nearest)


class TestBulyan(AggregatorSuite):
    aggregator = Bulyan
    ties_by_key = True
    resists = 1
    readme = Path(__file__).parents[1] / "README.md"

    def textbook(self) -> Textbook:
        return ElMhamdi(1)


class TestAmongThreeLiars(AggregatorSuite):
    aggregator = Bulyan
    ties_by_key = True
    config: ClassVar = {"byzantine": 3}
    resists = 3

    def textbook(self) -> Textbook:
        return ElMhamdi(3)


class TestOnePassAsFlowerHasIt(AggregatorSuite):
    aggregator = Bulyan
    ties_by_key = True
    config: ClassVar = {"selection": "one-pass"}
    resists = 1

    def textbook(self) -> Textbook:
        return ElMhamdi(1, one_pass=True)


def test_seven_by_hand() -> None:
    """f = 1: 100 is never picked, of five picks the three nearest their median are averaged."""
    updates = [{"w": [w]} for w in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 100.0)]
    model, _ = aggregate("bulyan", {"w": [0.0]}, updates)
    assert model["w"].tolist() == [2.0]


def test_six_updates_are_too_few_for_one_liar() -> None:
    with pytest.raises(FormulaError, match="Bulyan needs at least 7 updates, got 6"):
        aggregate(Bulyan, {"w": [0.0]}, [{"w": [1.0]}] * 6)


def test_a_far_attacker_is_never_among_the_picks() -> None:
    """With n for those that are left, as one may read the paper, he is in 500 of 500."""
    bulyan = Bulyan()
    for seed in range(500):
        points = np.random.default_rng(seed).standard_normal((7, 3))
        points[0] += 1e3
        distances = ((points[:, None] - points[None]) ** 2).sum(axis=2)
        assert 0 not in bulyan.select(distances)


def test_a_huge_value_of_one_pick_leaves_the_others_digits() -> None:
    """A liar whose other coordinates pass for honest is picked; his 1e15 must not pass through a sum."""
    draw = np.random.default_rng(1)
    updates = [{"w": np.append(draw.standard_normal(10), n / 8)} for n in range(7)]
    updates[3]["w"][10] = 1e5
    model, _ = aggregate(Bulyan, {"w": np.zeros(11)}, updates, config={"selection": "one-pass"})
    assert np.abs(model["w"]).max() < 10
