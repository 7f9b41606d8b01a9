"""FedBuff: Nguyen et al., Federated Learning with Buffered Asynchronous Aggregation, AISTATS 2022, Algorithm 1."""

from pydantic import Field

from fedk.api.aggregator import Array, Config, MeanAggregator, Round, State, Update


class FedBuffConfig(Config):
    """The server's step; the buffer's size K is the session's own, `async.buffer`."""

    learning_rate: float = Field(1.0, gt=0, description="η_g, the server's step")


class FedBuff(MeanAggregator[FedBuffConfig]):
    """Every K updates: x' = x + η·Σ s(τᵢ)·dᵢ / K, where s(τ) = 1/√(1 + τ) and dᵢ is to the model that i began at.

    s is no weight: a stale update makes the step shorter, it does not hand its share to the others.
    """

    of = "delta"

    def weight(self, u: Update, r: Round) -> float:
        return 1.0

    def scale(self, u: Update, r: Round) -> float:
        return float((1 + u.staleness) ** -0.5)

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return x + self.config.learning_rate * mean, {}
