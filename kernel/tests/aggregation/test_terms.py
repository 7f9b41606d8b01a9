import math
from collections.abc import Mapping
from typing import Any

import pytest

from fedk.aggregation.contract import check_contract
from fedk.aggregation.terms import Terms, terms
from fedk.api.aggregator import Array, Config, MeanAggregator, Round, State, Update
from fedk.api.errors import FormulaError, PluginError

UPDATE, ROUND = Update("k7", "client-3", 20, {"steps": 4.0}, staleness=3), Round(1, 5, 5)


class Delta(MeanAggregator[Config]):
    of = "delta"

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return x + mean, {}


class Nova(Delta):
    """Tells its terms apart by their numbers."""

    def scale(self, u: Update, r: Round) -> float:
        return 1 / u.metrics["steps"]

    def sums(self, u: Update, r: Round) -> Mapping[str, float]:
        return {"steps": u.num_examples * u.metrics["steps"]}


def test_the_default_is_the_number_of_examples() -> None:
    assert terms(Delta(), UPDATE, ROUND) == Terms(20.0, 1.0, {})


def test_a_formulas_own_terms_are_taken() -> None:
    assert terms(Nova(), UPDATE, ROUND) == Terms(20.0, 0.25, {"steps": 80.0})


def test_an_exception_names_plugin_update_and_line() -> None:
    with pytest.raises(FormulaError) as failed:
        terms(Nova(), Update("k7", "client-3", 20), ROUND)
    text = str(failed.value)
    assert "test_terms.Nova: weight, scale or sums raised KeyError: 'steps' for update k7 of client client-3" in text
    assert "test_terms.py:" in text
    assert isinstance(failed.value.__cause__, KeyError)


@pytest.mark.parametrize("error", [SystemExit(3), BaseException("as a panic of Rust")])
def test_a_formula_that_exits_or_panics_has_failed_as_any_other(error: BaseException) -> None:
    def weight(*_: object) -> float:
        raise error

    wrong = type("Wrong", (Delta,), {"weight": weight})
    with pytest.raises(FormulaError, match=f"weight, scale or sums raised {type(error).__name__}: "):
        terms(wrong(), UPDATE, ROUND)


@pytest.mark.parametrize(
    ("method", "value", "text"),
    [
        ("weight", -1.0, "weight is -1 for update k7 of client client-3; it must not be negative"),
        ("weight", math.nan, "weight is nan for update k7 of client client-3; it must be finite"),
        ("scale", math.inf, "scale is inf"),
        ("sums", {"steps": math.nan}, "steps is nan"),
        ("weight", None, "weight, scale or sums raised TypeError"),
    ],
)
def test_a_value_that_cannot_be_folded_is_an_error_of_the_formula(method: str, value: Any, text: str) -> None:
    wrong = type("Wrong", (Delta,), {method: lambda *_: value})
    with pytest.raises(FormulaError, match=text):
        terms(wrong(), UPDATE, ROUND)


def test_a_mean_of_models_cannot_be_scaled() -> None:
    scaled = type("Scaled", (Nova,), {"of": "model"})
    with pytest.raises(FormulaError, match=r"scale is 0\.25 .* it only makes sense of deltas"):
        terms(scaled(), UPDATE, ROUND)


def test_a_contract_that_is_kept_passes() -> None:
    check_contract(Nova())


@pytest.mark.parametrize(
    ("declared", "breach"),
    [
        ({"sets": ("model",)}, '"model" cannot name a tensor set or state'),
        ({"sets": ("a/b",)}, '"a/b" cannot name'),
        ({"initial": lambda _: {"master": 0.0}}, '"master" cannot name'),
        ({"initial": lambda _: {"m": math.nan}}, "m begins as nan"),
        ({"initial_scalars": lambda _: {"clip": math.inf}}, "clip begins as inf"),
        ({"metrics": {"loss": (1.0, 0.0)}}, "metric loss has the bounds 1.0 to 0.0"),
        ({"sends": {"control": "c"}}, "sends control from the state c, which initial"),
        ({"minimum": lambda _: 0}, "is 0; an aggregate needs an update"),
        ({"arithmetic": "sum-mod-2^k"}, 'arithmetic is "sum-mod-2\\^k"; this version of fedk knows "mean"'),
        ({"of": "models"}, 'of is "models"; "model" or "delta" is wanted'),
        ({"of": "model"}, "is defined, which only makes sense of deltas"),
    ],
)
def test_a_breach_of_the_contract_is_named_before_a_session_begins(declared: dict[str, Any], breach: str) -> None:
    with pytest.raises(PluginError, match=breach):
        check_contract(type("Wrong", (Nova,), declared)())


def test_all_breaches_are_named_at_once() -> None:
    wrong = type("Wrong", (Nova,), {"of": "models", "arithmetic": "xor"})
    with pytest.raises(PluginError, match=r"(?s)breaks the aggregators' contract:.*xor.*models"):
        check_contract(wrong())
