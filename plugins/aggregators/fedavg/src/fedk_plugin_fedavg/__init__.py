"""FedAvg: McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, AISTATS 2017."""

from typing import Literal

from pydantic import Field

from fedk.api.aggregator import Array, Config, MeanAggregator, Round, State, Update


class FedAvgConfig(Config):
    """What an update counts for."""

    weighting: Literal["examples", "uniform"] = Field(
        "examples", description="an update counts by its examples, or all updates count alike"
    )


class FedAvg(MeanAggregator[FedAvgConfig]):
    """The mean of the models, weighted by their examples (Algorithm 1): x' = Σ nᵢwᵢ / Σ nᵢ."""

    def weight(self, u: Update, r: Round) -> float:
        return 1.0 if self.config.weighting == "uniform" else float(u.num_examples)

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return mean, {}
