import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant
from scipy.stats import norm

from fedk.api.aggregator import Array, Config, MeanAggregator, Round, State, Update
from fedk.api.errors import FormulaError
from fedk.testing import AggregatorSuite, Answer, Textbook, Told, aggregate
from fedk_plugin_central_dp import CentralDP, CentralDPConfig


class Mean(MeanAggregator[Config]):
    """An inner aggregator: the mean of the models."""

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return mean, {}


class Momentum(MeanAggregator[Config]):
    """An inner aggregator with state, on deltas."""

    of = "delta"

    def initial(self) -> dict[str, float]:
        return {"m": 0.0}

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        m = 0.9 * state["m"] + mean
        return x + m, {"m": m}


def private(inner: MeanAggregator[Any] | None = None, **settings: Any) -> CentralDP:
    return CentralDP(CentralDPConfig(**{"noise_multiplier": 1.0, "clip": 1.0, **settings})).around(inner or Mean())


def silent(n: int) -> Array:
    return np.zeros(n)


class McMahan:
    """Algorithm 1 without its noise, which the suite leaves out; `momentum` of what is inside."""

    def __init__(self, clip: float, momentum: float = 0.0) -> None:
        self.clip, self.momentum = clip, momentum
        self.m: Array = np.zeros(1)

    def __call__(self, x: Array, told: Sequence[Told]) -> Array:
        clipped = [t.delta * min(1, self.clip / float(np.linalg.norm(t.delta))) for t in told]
        self.m = self.momentum * self.m + np.asarray(np.sum(clipped, axis=0) / len(told))
        return np.asarray(x + self.m)


class TestCentralDP(AggregatorSuite):
    aggregator = CentralDP
    readme = Path(__file__).parents[1] / "README.md"
    clip: ClassVar[float] = 0.7  # some updates of the suite are longer, some shorter

    def driver(self) -> CentralDP:
        return private(clip=self.clip)

    def textbook(self) -> Textbook:
        return McMahan(self.clip)

    def test_bfloat16_does_not_stand_still(self) -> None:
        pytest.skip("both dtypes are clipped, to norms that differ by what bfloat16 rounds")


class TestAroundMomentumWithAnAdaptiveClip(TestCentralDP):
    def driver(self) -> CentralDP:
        return private(Momentum(), clip=0.7, quantile=0.5, count_noise=3.0, clip_learning_rate=1e-12)

    def textbook(self) -> Textbook:
        return McMahan(self.clip, 0.9)


UPDATES = [{"w": [3.0, 4.0]}, {"w": [0.0, 0.5]}]


def test_updates_are_clipped_to_the_norm_by_hand() -> None:
    """C = 1: (3, 4) counts as (0.6, 0.8); examples count for nothing."""
    driver = private()
    model, _ = aggregate(driver, {"w": [0.0, 0.0]}, UPDATES, weights=[1, 10**6], noise=silent)
    assert model["w"] == pytest.approx([0.3, 0.65])


def test_the_noise_is_z_clips_over_those_asked() -> None:
    zeros = {"w": np.zeros(200_000)}
    model, _ = aggregate(private(noise_multiplier=2.0, clip=0.5), zeros, [zeros] * 4)
    assert model["w"].std() == pytest.approx(2.0 * 0.5 / 4, rel=0.01)
    assert abs(float(model["w"].mean())) < 0.25 * 5 / math.sqrt(200_000)
    again, _ = aggregate(private(noise_multiplier=2.0, clip=0.5), zeros, [zeros] * 4)
    assert not np.array_equal(model["w"], again["w"])


def test_what_is_not_stepped_stays_as_it_was() -> None:
    """It would tell of clients what the noise hides."""
    base = {"w": np.zeros(2), "bn.running_mean": np.ones(2), "steps": np.array([7])}
    update = {"w": np.ones(2), "bn.running_mean": np.zeros(2), "steps": np.array([9])}
    model, _ = aggregate(private(), base, [update] * 3)
    assert model["bn.running_mean"].tolist() == [1.0, 1.0]
    assert model["steps"].tolist() == [7]


# ---- what it costs ----


@pytest.mark.parametrize(("z", "rounds"), [(1.0, 1), (0.8, 10), (4.0, 100)])
def test_epsilon_is_that_of_the_gaussian_mechanism_over_all_rounds(z: float, rounds: int) -> None:
    """Balle and Wang 2018, Theorem 8: δ(ε) = Φ(s/2 - ε/s) - e^ε Φ(-s/2 - ε/s) with s = √rounds / z."""
    scalars = private(noise_multiplier=z).finish(view(rounds, noise_multiplier=z))
    epsilon, s = scalars["epsilon"], math.sqrt(rounds) / z
    delta = norm.cdf(s / 2 - epsilon / s) - math.exp(epsilon) * norm.cdf(-s / 2 - epsilon / s)
    assert delta == pytest.approx(1e-5, rel=1e-6)


def test_it_is_what_the_librarys_accountant_says_of_the_composition() -> None:
    accountant = PLDAccountant()
    accountant.compose(dp_accounting.GaussianDpEvent(1.5), 20)
    scalars = private(noise_multiplier=1.5).finish(view(20, noise_multiplier=1.5))
    assert scalars["epsilon"] == pytest.approx(accountant.get_epsilon(1e-5), rel=1e-3)


def view(folds: int, **settings: Any) -> Round:
    return Round(folds, 9, 9, private(**settings).initial_scalars(), folds=folds, count=9, weight=9.0)


def test_the_session_is_told_to_end_before_the_round_that_would_overspend() -> None:
    """z = 1: two models cost epsilon 6.57, three 8.39 (delta 1e-5)."""
    driver = private(epsilon=8.0)
    assert driver.enough(driver.finish(view(1, epsilon=8.0))) == ""
    wanted = "privacy budget: epsilon 6.573 of 8 is spent (delta 1e-05), one more model would make it 8.385"
    assert driver.enough(driver.finish(view(2, epsilon=8.0))) == wanted


def test_a_fold_that_the_budget_does_not_allow_for_draws_no_noise() -> None:
    """A round folded again after a crash: the first fold's noise is spent."""

    def drawn(n: int) -> Array:
        raise AssertionError(n)

    with pytest.raises(FormulaError, match=r"budget of epsilon 4 does not allow for fold 1: 4\.377"):
        aggregate(private(epsilon=4.0), {"w": [0.0]}, [{"w": [1.0]}], noise=drawn)


def test_without_a_budget_it_goes_on() -> None:
    assert private().enough(private().finish(view(10_000))) == ""


# ---- the adaptive clip ----


def test_the_clip_goes_up_while_fewer_than_the_quantile_pass_and_down_while_more_do() -> None:
    """Andrew et al., Algorithm 1: C·exp(-0.2 (share - 0.5)); without noise."""
    for passing, direction in ((0, 0.1), (2, 0.0), (4, -0.1)):
        updates = [{"w": [0.5 if n < passing else 2.0]} for n in range(4)]
        driver = private(quantile=0.5, count_noise=2.0)
        _, state = aggregate(driver, {"w": [0.0]}, updates, noise=silent)
        assert state.scalars["clip"] == pytest.approx(math.exp(direction))


def test_the_clip_finds_the_quantile() -> None:
    """Clients that move by 0.01 to 1: half of them by less than 0.5."""
    state, now = None, {"w": np.zeros(1)}
    driver = private(quantile=0.5, clip=10.0, count_noise=1.0)
    for _ in range(60):
        updates = [{"w": now["w"] + n / 100} for n in range(1, 101)]
        now, state = aggregate(driver, now, updates, state=state, noise=silent)
    assert state is not None
    assert state.scalars["clip"] == pytest.approx(0.5, abs=0.03)


def test_noise_on_the_count_is_paid_for_by_more_noise_on_the_model() -> None:
    """z_Δ = (1 - 1/4)^-½ with σ_b = 1."""
    zeros = {"w": np.zeros(200_000)}
    model, _ = aggregate(private(quantile=0.5, count_noise=1.0), zeros, [zeros] * 2)
    assert model["w"].std() == pytest.approx((1 - 1 / 4) ** -0.5 / 2, rel=0.01)


def test_too_few_clients_for_the_counts_noise_are_named_by_number() -> None:
    with pytest.raises(FormulaError, match=r"noise_multiplier 1 needs count noise above 0\.5, so more than 10 clients"):
        aggregate(private(quantile=0.5), {"w": [0.0]}, [{"w": [1.0]}] * 10)


# ---- what it goes around ----


class Scaled(Momentum):
    def scale(self, u: Update, r: Round) -> float:
        return 1 / (1 + u.staleness)


class Controlled(Momentum):
    sets = ("control",)
    metrics: ClassVar = {"loss": (0.0, 9.0)}


def test_it_goes_around_nothing_that_uses_more_than_the_mean() -> None:
    dp = CentralDP(CentralDPConfig(noise_multiplier=1.0, clip=1.0))
    assert dp.accepts(Mean()) == ""
    assert dp.accepts(Momentum()) == ""
    assert dp.accepts(Scaled()) == "it uses more of an update than its mean (scale), which would not be private"
    assert "(control, loss)" in dp.accepts(Controlled())
    assert "(scale, sums)" in dp.accepts(dp)


def test_an_answer_brings_metrics_and_they_are_not_used() -> None:
    model, _ = aggregate(private(), {"w": [0.0]}, [Answer({"w": [0.5]}, 1, {"loss": 1e9})], noise=silent)
    assert model["w"] == pytest.approx([0.5])
