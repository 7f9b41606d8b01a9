"""FedNova: Wang et al., Tackling the Objective Inconsistency Problem in Heterogeneous Federated Optimization, 2020."""

from collections.abc import Mapping

from fedk.api.aggregator import Array, Round, State, Update
from fedk.api.formulas import WeightedMean, WeightingConfig


class FedNovaConfig(WeightingConfig):
    """What pᵢ is."""


class FedNova(WeightedMean[FedNovaConfig]):
    """Normalised averaging (equations 4 and 6): x' = x + τ_eff·Σ pᵢ(wᵢ - x)/‖aᵢ‖₁ with τ_eff = Σ pᵢ‖aᵢ‖₁.

    pᵢ = nᵢ/Σn of the accepted updates. Clients report ‖aᵢ‖₁ as `local_steps`: plain SGD's number of steps.
    """

    of = "delta"
    metrics = {"local_steps": (1.0, 1e6)}  # noqa: RUF012 — the last gradient counts 1 in every ‖a‖₁ of the paper

    def scale(self, u: Update, r: Round) -> float:
        return 1 / u.metrics["local_steps"]

    def sums(self, u: Update, r: Round) -> Mapping[str, float]:
        return {"steps": self.weight(u, r) * u.metrics["local_steps"]}

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return x + r.sums["steps"] / r.weight * mean, {}
