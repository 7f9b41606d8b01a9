"""Multi-Krum: Blanchard et al., Machine Learning with Adversaries, NeurIPS 2017, section 5 (m of n selected by Krum)."""

from typing import Literal

import numpy as np
from pydantic import Field

from fedk.api.aggregator import Array, Config, Geometry, SelectionAggregator
from fedk.api.formulas import krum_scores


class MultiKrumConfig(Config):
    """How many may lie, and how many are averaged."""

    byzantine: int = Field(1, ge=0, description="f, updates that may be anything; 2f + 3 are needed")
    m: int | None = Field(None, ge=1, description="updates that are averaged; not given, n - f - 2")
    weighting: Literal["examples", "uniform"] = Field(
        "uniform", description="the chosen count alike, or by their examples, which are a client's own word"
    )


class MultiKrum(SelectionAggregator[MultiKrumConfig]):
    """The next model is the mean of the m updates with the least Krum scores: Σ of squared distances to n - f - 2 others.

    Of equal scores those of the smaller keys.
    """

    def minimum(self) -> int:
        return max(2 * self.config.byzantine + 3, self.config.m or 1)

    def choose(self, geometry: Geometry, weights: Array) -> Array:
        c = self.config
        m = c.m or max(1, len(weights) - c.byzantine - 2)
        best = np.argsort(krum_scores(geometry.distances, c.byzantine), kind="stable")[:m]
        chosen = np.zeros(len(weights))
        chosen[best] = weights[best] if c.weighting == "examples" else 1
        return chosen
