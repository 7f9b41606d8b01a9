"""FedProx: Li et al., Federated Optimization in Heterogeneous Networks, MLSys 2020."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from fedk.api.aggregator import Array, Round, State
from fedk.api.formulas import WeightedMean, WeightingConfig


class FedProxConfig(WeightingConfig):
    """The proximal term, which is the clients' to add."""

    weighting: Literal["examples", "uniform"] = Field(
        "uniform", description="an update counts by its examples, or all updates count alike"
    )
    proximal_mu: float = Field(0.1, ge=0, description="μ: clients add ½μ‖w - x‖² to their loss; 0: FedAvg")


class FedProx(WeightedMean[FedProxConfig]):
    """The plain mean of the sampled models (Algorithm 2), which each client trained with a proximal term."""

    def client_settings(self) -> Mapping[str, Any]:
        return {"proximal_mu": self.config.proximal_mu}

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return mean, {}
