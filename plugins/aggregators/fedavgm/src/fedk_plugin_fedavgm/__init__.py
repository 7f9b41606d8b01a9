"""FedAvgM: Hsu et al., Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification, 2019."""

from collections.abc import Mapping

from pydantic import Field

from fedk.api.aggregator import Array, Round, State
from fedk.api.formulas import WeightedMean, WeightingConfig


class FedAvgMConfig(WeightingConfig):
    """The server's momentum."""

    learning_rate: float = Field(1.0, gt=0, description="η, the server's step")
    momentum: float = Field(0.9, ge=0, lt=1, description="β, how long the server's velocity remembers; 0: FedAvg")


class FedAvgM(WeightedMean[FedAvgMConfig]):
    """The server's momentum (section 4.3): m = βm + d; x' = x + η·m, where d = A - x and m₀ = 0."""

    def initial(self) -> Mapping[str, float]:
        return {"m": 0.0}

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        m = self.config.momentum * state["m"] + (mean - x)
        return x + self.config.learning_rate * m, {"m": m}
