"""SCAFFOLD: Karimireddy et al., Stochastic Controlled Averaging for Federated Learning, ICML 2020, Algorithm 1."""

from collections.abc import Mapping

from pydantic import Field

from fedk.api.aggregator import Array, Config, MeanAggregator, Round, State, Update


class ScaffoldConfig(Config):
    """The server's step."""

    learning_rate: float = Field(1.0, gt=0, description="η_g, the server's step")


class Scaffold(MeanAggregator[ScaffoldConfig]):
    """Control variates against clients' drift: x' = x + η/|S|·Σ(yᵢ - x); c' = c + 1/N·ΣΔcᵢ.

    c goes out with each task as `control`, and Δcᵢ = cᵢ⁺ - cᵢ comes back as the tensor set of that name. c stays the
    mean of all cᵢ only if clients keep a cᵢ⁺ from the verdict *committed* on, and never of an update that was lost.
    """

    of = "delta"
    sets = ("control",)
    sends = {"control": "c"}  # noqa: RUF012 — read only

    def initial(self) -> Mapping[str, float]:
        return {"c": 0.0}

    def weight(self, u: Update, r: Round) -> float:
        return 1.0

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        c = state["c"] + r.count / r.population * r.sets["control"]
        return x + self.config.learning_rate * mean, {"c": c}
