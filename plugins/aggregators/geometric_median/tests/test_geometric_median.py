from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from fedk.api.aggregator import Array
from fedk.testing import AggregatorSuite, Textbook, Told, aggregate
from fedk_plugin_geometric_median import GeometricMedian


class Pillutla:
    """Algorithm 2 on the vectors themselves."""

    def __init__(self, *, weighted: bool, nu: float = 1e-6) -> None:
        self.weighted, self.nu = weighted, nu

    def __call__(self, x: Array, told: Sequence[Told]) -> Array:
        alpha = np.array([t.num_examples if self.weighted else 1 for t in told], float)
        v = np.average([t.w for t in told], axis=0, weights=alpha)
        for _ in range(100):
            away = np.array([np.linalg.norm(v - t.w) for t in told])
            v = np.average([t.w for t in told], axis=0, weights=alpha / np.maximum(self.nu, away))
        return np.asarray(v)


class TestGeometricMedian(AggregatorSuite):
    aggregator = GeometricMedian
    resists = 2
    readme = Path(__file__).parents[1] / "README.md"

    def textbook(self) -> Textbook:
        return Pillutla(weighted=True)


class TestUniform(AggregatorSuite):
    aggregator = GeometricMedian
    config: ClassVar = {"weighting": "uniform"}
    resists = 3

    def textbook(self) -> Textbook:
        return Pillutla(weighted=False)


def test_of_a_triangle_it_is_the_point_that_sees_each_side_under_120_degrees() -> None:
    corners = [{"w": [0.0, 0.0]}, {"w": [1.0, 0.0]}, {"w": [0.5, 3**0.5 / 2]}]
    model, _ = aggregate("geometric-median", {"w": [0.0, 0.0]}, corners)
    assert model["w"] == pytest.approx([0.5, 3**0.5 / 6], abs=1e-9)


def test_on_a_line_it_is_the_median() -> None:
    model, _ = aggregate(GeometricMedian, {"w": [0.0]}, [{"w": [w]} for w in (0.0, 1.0, 2.0, 3.0, 1e5)])
    assert model["w"] == pytest.approx([2.0], abs=1e-4)


def test_an_outlier_at_900_000_times_the_spread_is_harmless_after_the_last_step_not_after_three() -> None:
    draw = np.random.default_rng(0)
    honest = [draw.standard_normal(20) for _ in range(9)]
    updates = [*({"w": w} for w in honest), {"w": honest[0] + 9e5}]
    off = []
    for iterations in (3, 100):
        model, _ = aggregate(GeometricMedian, {"w": np.ones(20)}, updates, config={"iterations": iterations})
        off.append(np.linalg.norm(model["w"] - np.mean(honest, axis=0)))
    assert off[0] > 50
    assert off[1] < 2


def test_the_examples_weigh_unless_they_shall_not() -> None:
    updates = [{"w": [0.0]}, {"w": [1.0]}, {"w": [2.0]}]
    for weighting, wanted in (("examples", 2.0), ("uniform", 1.0)):
        config = {"weighting": weighting}
        model, _ = aggregate(GeometricMedian, {"w": [0.0]}, updates, weights=[1, 1, 5], config=config)
        assert model["w"] == pytest.approx([wanted], abs=1e-4)
