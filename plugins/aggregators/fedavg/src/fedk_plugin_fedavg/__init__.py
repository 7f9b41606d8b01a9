"""FedAvg: McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, AISTATS 2017."""

from fedk.api.aggregator import Array, Round, State
from fedk.api.formulas import WeightedMean, WeightingConfig


class FedAvgConfig(WeightingConfig):
    """What an update counts for."""


class FedAvg(WeightedMean[FedAvgConfig]):
    """The mean of the models, weighted by their examples (Algorithm 1): x' = Σ nᵢwᵢ / Σ nᵢ."""

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return mean, {}
