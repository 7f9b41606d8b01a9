"""Geometric median, RFA: Pillutla et al., Robust Aggregation for Federated Learning, IEEE TSP 2022, Algorithm 2."""

from typing import Literal

import numpy as np
from pydantic import Field

from fedk.api.aggregator import Array, Config, Geometry, SelectionAggregator


class GeometricMedianConfig(Config):
    """How far Weiszfeld's iteration goes."""

    weighting: Literal["examples", "uniform"] = Field(
        "examples", description="an update counts by its examples, or all updates count alike"
    )
    nu: float = Field(1e-6, gt=0, description="ν, distances below it count as it: smooths the median near an update")
    iterations: int = Field(100, ge=1, description="most steps; the paper's 3 leave an outlier far from harmless")
    tolerance: float = Field(1e-12, ge=0, description="it ends when the weights move by less, all together")


class GeometricMedian(SelectionAggregator[GeometricMedianConfig]):
    """The next model v makes Σ αᵢ‖v - uᵢ‖ least: smoothed Weiszfeld, βᵢ ∝ αᵢ / max(ν, ‖v - uᵢ‖), v = Σ βᵢuᵢ.

    It never leaves the distance matrix D: ‖Σ βⱼuⱼ - uᵢ‖² = (Dβ)ᵢ - ½βᵀDβ where Σ β = 1. The updates are read twice,
    however many steps there are.
    """

    def choose(self, geometry: Geometry, weights: Array) -> Array:
        c, squares = self.config, geometry.distances
        alpha = weights if c.weighting == "examples" else np.ones(len(weights))
        beta: Array = alpha / alpha.sum()
        for _ in range(c.iterations):
            spread = squares @ beta
            away = np.sqrt(np.maximum(spread - 0.5 * (beta @ spread), 0))
            before, beta = beta, alpha / np.maximum(c.nu, away)
            beta /= beta.sum()
            if np.abs(beta - before).sum() <= c.tolerance:
                break
        return beta
