"""Central DP: McMahan et al., Learning Differentially Private Recurrent Language Models, ICLR 2018, Algorithm 1;
the clip: Andrew et al., Differentially Private Learning with Adaptive Clipping, NeurIPS 2021, Algorithm 1."""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from dp_accounting import get_epsilon_gaussian
from pydantic import Field

from fedk.api.aggregator import Array, Config, MeanAggregator, Round, State, Update, Wrapper


class CentralDPConfig(Config):
    """How much noise, for what, and how much privacy may be spent. Noise and clip are yours to choose: no defaults."""

    noise_multiplier: float = Field(gt=0, description="z, the noise's standard deviation in clips")
    clip: float = Field(gt=0, description="C, the largest norm of an update that counts whole; with quantile the first")
    delta: float = Field(1e-5, gt=0, lt=1, description="δ, well below one in the number of clients")
    epsilon: float | None = Field(None, gt=0, description="ε, the budget: the session ends before it is overspent")
    quantile: float | None = Field(None, gt=0, lt=1, description="γ, share of updates that the clip is steered to pass")
    clip_learning_rate: float = Field(0.2, gt=0, description="η_C, how fast the clip is steered")
    count_noise: float | None = Field(
        None, gt=0, description="σ_b, noise on the number of updates that passed; not given, a twentieth of those asked"
    )


class CentralDP(Wrapper[CentralDPConfig]):
    """Δ = (Σ clip_C(wᵢ - x) + N(0, (zC)²)) / asked, one client like another; then the inner aggregator's step.

    (ε, δ) for adding or taking away one client with all that it sent in the session. Every fold that began is paid for,
    committed or not. Nothing is claimed for sampling: clients are drawn from those present, not by a coin each.
    """

    of = "delta"
    random = freezes = once = True
    shows = ("epsilon", "clip")

    def accepts(self, inner: MeanAggregator[Any]) -> str:
        cls = type(inner)
        more = [*inner.sets, *inner.metrics, *(["scale"] if cls.scale is not MeanAggregator.scale else [])]
        more += ["sums"] if cls.sums is not MeanAggregator.sums else []
        return (
            f"it uses more of an update than its mean ({', '.join(more)}), which would not be private" if more else ""
        )

    def initial_scalars(self) -> Mapping[str, float]:
        return {**self.inner.initial_scalars(), "clip": self.config.clip, "epsilon": 0.0, "folds": 0.0}

    def weight(self, u: Update, r: Round) -> float:
        return 1.0  # a weight of the client's own choice has no bound

    def scale(self, u: Update, r: Round) -> float:
        """Clips: at most norm C."""
        return min(1.0, r.scalars["clip"] / u.norm) if u.norm else 1.0

    def sums(self, u: Update, r: Round) -> Mapping[str, float]:
        """b - ½, which Andrew et al. take for it moves by ½ only."""
        return {"within": 0.5 if u.norm <= r.scalars["clip"] else -0.5} if self.config.quantile else {}

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        self._afford(r.folds)
        noise = self._model_noise(r) * r.scalars["clip"] * r.normal(len(x))
        moved = (mean * r.count + noise) / r.asked  # those asked, not those that came: a fixed number
        return self.inner.step(x, x + moved if self.inner.of == "model" else moved, state, r)

    def finish(self, r: Round) -> Mapping[str, float]:
        spent = {"epsilon": self._epsilon(r.folds), "folds": float(r.folds), "clip": self._next_clip(r)}
        return {**self.inner.finish(r), **spent}

    def enough(self, scalars: Mapping[str, float]) -> str:
        budget, following = self.config.epsilon, self._epsilon(int(scalars["folds"]) + 1)
        if budget is None or following <= budget:
            return self.inner.enough(scalars)
        said = f"privacy budget: epsilon {scalars['epsilon']:.4g} of {budget:g} is spent (delta {self.config.delta:g})"
        return f"{said}, one more model would make it {following:.4g}"

    def _epsilon(self, folds: int) -> float:
        return _epsilon(self.config.noise_multiplier, folds, self.config.delta)

    def _afford(self, folds: int) -> None:
        budget, spent = self.config.epsilon, self._epsilon(folds)
        if budget is not None and spent > budget:
            raise ValueError(f"the privacy budget of epsilon {budget:g} does not allow for fold {folds}: {spent:.4g}")

    def _model_noise(self, r: Round) -> float:
        """z_Δ: what noise on the count leaves of z, (z⁻² - (2σ_b)⁻²)^-½ (Andrew et al., Theorem 1)."""
        z = self.config.noise_multiplier
        if self.config.quantile is None:
            return z
        both = 2 * self._count_noise(r)
        if z >= both:
            enough = f"count noise above {z / 2:g}, so more than {z * 10:g} clients asked a round"
            raise ValueError(f"noise_multiplier {z:g} needs {enough}")
        return float((z**-2 - both**-2) ** -0.5)

    def _count_noise(self, r: Round) -> float:
        return self.config.count_noise if self.config.count_noise is not None else r.asked / 20

    def _next_clip(self, r: Round) -> float:
        """C·exp(-η_C(b̃ - γ))."""
        clip, gamma = r.scalars["clip"], self.config.quantile
        if gamma is None:
            return clip
        share = (r.sums["within"] + self._count_noise(r) * float(r.normal(1)[0])) / r.asked + 0.5
        return clip * math.exp(-self.config.clip_learning_rate * (share - gamma))


@lru_cache(maxsize=1024)
def _epsilon(noise_multiplier: float, folds: int, delta: float) -> float:
    """Of `folds` Gaussian mechanisms together: one with √folds times the sensitivity (Balle and Wang 2018, exact)."""
    return float(get_epsilon_gaussian(noise_multiplier / math.sqrt(folds), delta)) if folds else 0.0
