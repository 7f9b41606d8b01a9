"""What an update counts for: its examples, or as much as any other."""

from typing import Literal, TypeVar

from pydantic import Field

from fedk.api.aggregator import MeanAggregator, Round, Update
from fedk.api.config import Config


class WeightingConfig(Config):
    """Settings of a mean that can be weighted."""

    weighting: Literal["examples", "uniform"] = Field(
        "examples", description="an update counts by its examples, or all updates count alike"
    )


W = TypeVar("W", bound=WeightingConfig)


class WeightedMean(MeanAggregator[W]):
    """mean = Σ nᵢwᵢ / Σ nᵢ, or (1/k) Σ wᵢ with `weighting = "uniform"`."""

    def weight(self, u: Update, r: Round) -> float:
        return 1.0 if self.config.weighting == "uniform" else float(u.num_examples)
