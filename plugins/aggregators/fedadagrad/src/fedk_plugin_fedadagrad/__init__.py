"""FedAdagrad: Reddi et al., Adaptive Federated Optimization, ICLR 2021, Algorithm 2."""

from pydantic import Field

from fedk.api.aggregator import Array
from fedk.api.formulas import Adaptive, AdaptiveConfig


class FedAdagradConfig(AdaptiveConfig):
    """As all adaptive optimisers; without momentum unless it is set."""

    beta_1: float = Field(0.0, ge=0, lt=1, description="β₁, how long the first moment remembers")


class FedAdagrad(Adaptive[FedAdagradConfig]):
    """Adagrad at the server: its steps shrink by all that has been moved so far."""

    def second_moment(self, v: Array, d: Array) -> Array:
        """v + d² (Algorithm 2, FedAdagrad): it never forgets."""
        return v + d**2
