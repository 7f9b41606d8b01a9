"""Krum: Blanchard et al., Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent, NeurIPS 2017."""

import numpy as np
from pydantic import Field

from fedk.api.aggregator import Array, Config, Geometry, SelectionAggregator
from fedk.api.formulas import krum_scores


class KrumConfig(Config):
    """How many may lie."""

    byzantine: int = Field(1, ge=0, description="f, updates that may be anything; 2f + 3 are needed")


class Krum(SelectionAggregator[KrumConfig]):
    """The next model is the one update with the least Σ of squared distances to its n - f - 2 nearest others (section 4).

    Byte for byte; of equal scores that of the smallest key.
    """

    def minimum(self) -> int:
        return 2 * self.config.byzantine + 3

    def choose(self, geometry: Geometry, weights: Array) -> Array:
        chosen = np.zeros(len(weights))
        chosen[np.argmin(krum_scores(geometry.distances, self.config.byzantine))] = 1
        return chosen
