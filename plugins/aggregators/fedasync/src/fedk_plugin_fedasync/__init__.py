"""FedAsync: Xie et al., Asynchronous Federated Optimization, 2019, Algorithm 1."""

from typing import Literal

from pydantic import Field

from fedk.api.aggregator import Array, Config, MeanAggregator, Round, State, Update


class FedAsyncConfig(Config):
    """How far a model moves the global one, by its age."""

    alpha: float = Field(0.6, gt=0, le=1, description="α, how far a fresh model moves the global one")
    staleness: Literal["constant", "polynomial", "hinge"] = Field(
        "polynomial", description="s(τ): 1, or (1 + τ)^-a, or 1 up to b and 1/(1 + a(τ - b)) after it"
    )
    a: float = Field(0.5, gt=0, description="a, how fast s falls with the staleness τ")
    b: int = Field(4, ge=0, description="b, the staleness that hinge forgives")


class FedAsync(MeanAggregator[FedAsyncConfig]):
    """Each model as it comes: x' = (1 - α_t)x + α_t·wᵢ with α_t = α·s(τ) (Algorithm 1, section 5.2).

    With more than one in the buffer, each moves x by its own share: x' = x + 1/k·Σ α_t(wᵢ - x).
    """

    def weight(self, u: Update, r: Round) -> float:
        return self.config.alpha * self._s(u.staleness)

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        alpha = r.weight / r.count
        return (1 - alpha) * x + alpha * mean, {}

    def _s(self, staleness: int) -> float:
        c = self.config
        if c.staleness == "polynomial":
            return float((1 + staleness) ** -c.a)
        return 1 / (1 + c.a * max(0, staleness - c.b)) if c.staleness == "hinge" else 1.0
