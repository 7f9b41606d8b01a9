"""q-FedAvg: Li et al., Fair Resource Allocation in Federated Learning, ICLR 2020, Algorithm 2."""

from pydantic import Field

from fedk.api.aggregator import Array, Config, MeanAggregator, Round, State, Update

EPSILON = 1e-10
"""Added to every loss: one of exactly 0 has no power below 0."""


class QFedAvgConfig(Config):
    """How fair, and how long the clients' steps are."""

    q: float = Field(0.1, ge=0, le=20, description="q, fairness: larger counts large losses for more; 0: plain mean")
    client_learning_rate: float = Field(0.1, gt=0, description="the clients' own step; L is 1 over it")


class QFedAvg(MeanAggregator[QFedAvgConfig]):
    """A fairer mean: x' = x - ΣFᵢ^q·L(x - wᵢ) / Σhᵢ with hᵢ = qFᵢ^(q-1)·‖L(x - wᵢ)‖² + L·Fᵢ^q.

    Fᵢ is the loss of client i at the global model, before it trains: clients report it as `global_loss`.
    """

    of = "delta"
    metrics = {"global_loss": (0.0, 1e6)}  # noqa: RUF012 — read only

    def weight(self, u: Update, r: Round) -> float:
        q, lipschitz, loss = self._terms(u)
        return float(q * loss ** (q - 1) * (lipschitz * u.norm) ** 2 + lipschitz * loss**q)

    def scale(self, u: Update, r: Round) -> float:
        q, lipschitz, loss = self._terms(u)
        return float(lipschitz * loss**q / self.weight(u, r))

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return x + mean, {}

    def _terms(self, u: Update) -> tuple[float, float, float]:
        """q, L and Fᵢ."""
        return self.config.q, 1 / self.config.client_learning_rate, u.metrics["global_loss"] + EPSILON
