"""FedAdam: Reddi et al., Adaptive Federated Optimization, ICLR 2021, Algorithm 2."""

from typing import Literal

from pydantic import Field

from fedk.api.aggregator import Array, Round
from fedk.api.formulas import Adaptive, DecayingConfig


class FedAdamConfig(DecayingConfig):
    """As all adaptive optimisers, and Adam's correction."""

    bias_correction: Literal["none", "adam", "flower"] = Field(
        "none", description="η·√(1-β₂ᵗ)/(1-β₁ᵗ) with the round's number for t (adam), or the number + 1 (flower)"
    )


class FedAdam(Adaptive[FedAdamConfig]):
    """Adam at the server: steps by a mean of what was moved, over the root of a mean of its squares."""

    def second_moment(self, v: Array, d: Array) -> Array:
        """β₂v + (1-β₂)d² (Algorithm 2, FedAdam)."""
        return self.config.beta_2 * v + (1 - self.config.beta_2) * d**2

    def rate(self, r: Round) -> float:
        """η, corrected for moments that begin at zero (Kingma and Ba 2015, end of section 2) where that is asked for."""
        c = self.config
        if c.bias_correction == "none":
            return c.learning_rate
        t = r.number + (c.bias_correction == "flower")
        return float(c.learning_rate * (1 - c.beta_2**t) ** 0.5 / (1 - c.beta_1**t))
