from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from fedk.api.aggregator import Array
from fedk.api.errors import FormulaError
from fedk.testing import AggregatorSuite, Textbook, Told, aggregate
from fedk_plugin_krum import Krum


class Blanchard:
    """Section 4, by pairs."""

    def __init__(self, f: int) -> None:
        self.f = f

    def __call__(self, x: Array, told: Sequence[Told]) -> Array:
        return told[self.best([t.delta for t in told])].w

    def best(self, vectors: Sequence[Array]) -> int:
        scores = []
        for i, mine in enumerate(vectors):
            squares = sorted(float(((mine - v) ** 2).sum()) for j, v in enumerate(vectors) if j != i)
            scores.append(sum(squares[: max(1, len(vectors) - self.f - 2)]))
        return scores.index(min(scores))


class TestKrum(AggregatorSuite):
    aggregator = Krum
    gives_mean = True
    resists = 1
    readme = Path(__file__).parents[1] / "README.md"

    def textbook(self) -> Textbook:
        return Blanchard(1)


class TestKrumAmongThreeLiars(AggregatorSuite):
    aggregator = Krum
    config: ClassVar = {"byzantine": 3}
    gives_mean = True
    resists = 3

    def textbook(self) -> Textbook:
        return Blanchard(3)


def test_the_one_amid_the_others_by_hand() -> None:
    """f = 1, n = 5: two neighbours count. Scores: 0.25 + 4, 0.25 + 2.25, 2.25 + 4 … and the liar's are in the thousands."""
    updates = [{"w": [w]} for w in (0.0, 0.5, 2.0, 5.0, 100.0)]
    model, _ = aggregate("krum", {"w": [0.0]}, updates)
    assert model["w"].tolist() == [0.5]


def test_of_equal_scores_the_smallest_key_is_chosen() -> None:
    """1 and 2 lie amid 0 and 3 alike."""
    model, _ = aggregate(Krum, {"w": [0.0]}, [{"w": [w]} for w in (3.0, 2.0, 1.0, 0.0, 100.0)])
    assert model["w"].tolist() == [2.0]


def test_four_updates_are_too_few_for_one_liar() -> None:
    with pytest.raises(FormulaError, match="Krum needs at least 5 updates, got 4"):
        aggregate(Krum, {"w": [0.0]}, [{"w": [1.0]}] * 4)


@pytest.mark.parametrize("seeds", [range(first, first + 20) for first in range(0, 100, 20)])
def test_small_steps_of_a_large_model_are_told_apart_in_100_of_100_draws(seeds: range) -> None:
    """100,000 float32 weights ~ N(0, 1) and updates of 1e-4: of their models' products float32 keeps no digit."""
    for seed in seeds:
        draw = np.random.default_rng(seed)
        base = draw.standard_normal(100_000).astype(np.float32)
        updates = [(base + 1e-4 * draw.standard_normal(base.size)).astype(np.float32) for _ in range(9)]
        deltas = [update.astype(np.float64) - base for update in updates]
        model, _ = aggregate(Krum, {"w": base}, [{"w": update} for update in updates], config={"byzantine": 2})
        assert model["w"].tobytes() == updates[Blanchard(2).best(deltas)].tobytes(), f"seed {seed}"
