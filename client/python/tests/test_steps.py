"""‖a‖₁ beside the closed forms of the paper's section 4, and beside what gradients really move a model by."""

import pytest

from fedk_client.steps import LocalSteps


def norm(steps: int, **how: float) -> float:
    counted = LocalSteps(**how)
    counted.add(steps)
    return counted.norm


def test_plain_sgd_counts_its_steps() -> None:
    counted = LocalSteps()
    assert counted.norm == 0
    for number in range(1, 6):
        counted.add()
        assert counted.norm == number


@pytest.mark.parametrize("steps", [1, 2, 50])
def test_momentum_counts_as_the_paper_says(steps: int) -> None:
    """a = [1 - ρ^τ, …, 1 - ρ] / (1 - ρ), so ‖a‖₁ = (τ - ρ(1 - ρ^τ)/(1 - ρ)) / (1 - ρ)."""
    rho = 0.9
    assert norm(steps, momentum=rho) == pytest.approx((steps - rho * (1 - rho**steps) / (1 - rho)) / (1 - rho))


@pytest.mark.parametrize("steps", [1, 2, 50])
def test_a_proximal_term_counts_as_the_paper_says(steps: int) -> None:
    """a = [(1 - ημ)^(τ-1), …, 1 - ημ, 1], so ‖a‖₁ = (1 - (1 - ημ)^τ) / ημ."""
    shrink = 0.05
    assert norm(steps, proximal=shrink) == pytest.approx((1 - (1 - shrink) ** steps) / shrink)


def test_both_together_are_what_equal_gradients_move_a_model_by() -> None:
    w, velocity, rate, mu = 0.0, 0.0, 0.1, 0.3
    for _ in range(20):
        velocity = 0.9 * velocity + (-1 + mu * w)
        w -= rate * velocity
    assert norm(20, momentum=0.9, proximal=rate * mu) == pytest.approx(w / rate)


@pytest.mark.parametrize("wrong", [{"momentum": 1.0}, {"proximal": -0.1}])
def test_what_no_optimiser_has_is_an_error(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="both lie between 0 and 1"):
        LocalSteps(**wrong)
