"""Trimmed mean: Yin et al., Byzantine-Robust Distributed Learning, ICML 2018, Definition 2, Algorithm 1, option II."""

from pydantic import Field

from fedk.api.aggregator import Array, Config, CoordinateAggregator
from fedk.api.formulas import trimmed_mean


class TrimmedMeanConfig(Config):
    """How much is trimmed."""

    beta: float = Field(
        0.2, ge=0, lt=0.5, description="β, share of the values that is left out at each end; at least that of the liars"
    )


class TrimmedMean(CoordinateAggregator[TrimmedMeanConfig]):
    """Each coordinate of the next model is the mean of that coordinate without its ⌊βn⌋ least and greatest; unweighted."""

    def combine(self, values: Array, weights: Array) -> Array:
        # 0.29 · 100 is 28.999999999999996
        return trimmed_mean(values, int(self.config.beta * len(values) + 1e-9))
