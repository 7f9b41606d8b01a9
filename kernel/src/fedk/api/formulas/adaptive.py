"""Adaptive optimisers at the server: Reddi et al., Adaptive Federated Optimization, ICLR 2021, Algorithm 2.

They differ in how the second moment goes on, and that is all that a plugin adds:

    class FedAdagrad(Adaptive[AdaptiveConfig]):
        def second_moment(self, v: Array, d: Array) -> Array:
            return v + d**2
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from pydantic import Field

from fedk.api.aggregator import Array, Round, State
from fedk.api.formulas.weighting import WeightedMean, WeightingConfig


class AdaptiveConfig(WeightingConfig):
    """What all of them have. The paper's experiments tune η and τ for each task, by powers of ten."""

    learning_rate: float = Field(0.1, gt=0, description="η, the server's step")
    beta_1: float = Field(0.9, ge=0, lt=1, description="β₁, how long the first moment remembers")
    tau: float = Field(1e-3, gt=0, description="τ, adaptivity: larger is closer to plain momentum")
    initial_second_moment: float | None = Field(
        None, ge=0, description="v₋₁, the second moment before the first round; not given, it is τ²"
    )


class DecayingConfig(AdaptiveConfig):
    """Where the second moment forgets."""

    beta_2: float = Field(0.99, ge=0, lt=1, description="β₂, how long the second moment remembers")


A = TypeVar("A", bound=AdaptiveConfig)


class Adaptive(WeightedMean[A]):
    """m = β₁m + (1-β₁)d; v by `second_moment`; x' = x + η·m / (√v + τ); d is what the mean moved, A - x.

    m₋₁ = 0 and v₋₁ = τ². No bias correction, as in the paper; `rate` is the place for one.
    """

    def initial(self) -> Mapping[str, float]:
        given = self.config.initial_second_moment
        return {"m": 0.0, "v": self.config.tau**2 if given is None else given}

    @abstractmethod
    def second_moment(self, v: Array, d: Array) -> Array:
        """The next v, elementwise, ≥ 0."""

    def rate(self, r: Round) -> float:
        """η of this round."""
        return self.config.learning_rate

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        c, d = self.config, mean - x
        m = c.beta_1 * state["m"] + (1 - c.beta_1) * d
        v = self.second_moment(state["v"], d)
        return x + self.rate(r) * m / (np.sqrt(v) + c.tau), {"m": m, "v": v}
