"""`fedk.testing.aggregate`: one round without a server."""

import subprocess
import sys
from collections.abc import Mapping

import numpy as np
import pytest
from pydantic import Field, ValidationError

from fedk.api.aggregator import Array, Config, MeanAggregator, Round, State, Update
from fedk.api.errors import FormulaError, PluginError, Refused
from fedk.testing import Answer, aggregate


class MomentumConfig(Config):
    beta: float = Field(0.5, ge=0, lt=1, description="β, how long it remembers")


class Momentum(MeanAggregator[MomentumConfig]):
    """m = βm + (mean - x); x' = x + m; counts its examples."""

    metrics = {"loss": (0.0, 10.0)}  # noqa: RUF012 — read only

    def initial(self) -> Mapping[str, float]:
        return {"m": 0.0}

    def initial_scalars(self) -> Mapping[str, float]:
        return {"examples": 0.0}

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        m = self.config.beta * state["m"] + (mean - x)
        return x + m, {"m": m}

    def finish(self, r: Round) -> Mapping[str, float]:
        return {"examples": r.scalars["examples"] + r.weight, "round": r.number}


class Steps(MeanAggregator[Config]):
    """Deltas by their staleness, with a set beside them."""

    of = "delta"
    sets = ("control",)

    def scale(self, u: Update, r: Round) -> float:
        return 1 / (1 + u.staleness)

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return x + mean + r.sets["control"], {}


def answer(value: float) -> Answer:
    return Answer({"w": [value]}, metrics={"loss": 1.0})


def test_an_aggregator_is_named_given_as_a_class_or_made() -> None:
    from fedk_plugin_fedavg import FedAvg  # noqa: PLC0415 — installed with the workspace

    for chosen in ("fedavg", "fedk-plugin-fedavg:fedavg", FedAvg, FedAvg()):
        model, _ = aggregate(chosen, {"w": [0.0]}, [{"w": [1.0]}, {"w": [5.0]}], weights=[30, 10])
        assert model["w"].tolist() == [2.0]


def test_called_three_times_it_is_three_rounds() -> None:
    """m: 1, then 0.5 + 1, then 0.75 + 1, of clients that always move by 1."""
    model, state = {"w": np.zeros(1)}, None
    for number, wanted in enumerate((1.0, 2.5, 4.25), 1):
        model, state = aggregate(Momentum, model, [answer(float(model["w"][0]) + 1)] * 2, [3, 4], state=state)
        assert model["w"].tolist() == [wanted]
        assert state.number == number
        assert state.scalars == {"examples": 7.0 * number, "round": number}


def test_settings_are_a_mapping_or_a_config() -> None:
    for config in ({"beta": 0.9}, MomentumConfig(beta=0.9)):
        model, state = aggregate(Momentum, {"w": [0.0]}, [answer(1.0)], config=config)
        model, _ = aggregate(Momentum, model, [answer(2.0)], config=config, state=state)
        assert model["w"] == pytest.approx([1.0 + 0.9 + 1.0])
    with pytest.raises(ValidationError, match="less than 1"):
        aggregate(Momentum, {"w": [0.0]}, [answer(1.0)], config={"beta": 1})
    with pytest.raises(TypeError, match="already made has its config"):
        aggregate(Momentum(), {"w": [0.0]}, [answer(1.0)], config={"beta": 0.9})


def test_answers_bring_sets_staleness_and_the_model_that_they_trained_on() -> None:
    updates = [
        Answer({"w": [4.0]}, 1, sets={"control": {"w": [0.25]}}),
        Answer({"w": [5.0]}, 1, staleness=1, sets={"control": {"w": [0.75]}}, base={"w": [1.0]}),
    ]
    model, _ = aggregate(Steps, {"w": [3.0]}, updates)
    assert model["w"] == pytest.approx([3 + (1 + 4 / 2) / 2 + (0.25 + 0.75 / 2) / 2])


def test_lists_take_the_bases_dtype_and_arrays_keep_theirs() -> None:
    base = {"w": np.zeros(2, np.float32), "steps": np.array([1])}
    model, _ = aggregate("fedavg", base, [{"w": [1, 3], "steps": [2]}])
    assert [(array.dtype.name, array.tolist()) for array in model.values()] == [("float32", [1, 3]), ("int64", [2])]
    with pytest.raises(Refused, match="bad-dtype: w is float64"):
        aggregate("fedavg", base, [{"w": np.ones(2), "steps": [2]}])


def test_what_a_round_refuses_is_refused() -> None:
    with pytest.raises(Refused, match="non-finite: w has 1 NaN of 1"):
        aggregate("fedavg", {"w": [0.0]}, [{"w": [float("nan")]}])
    with pytest.raises(Refused, match="no-examples"):
        aggregate("fedavg", {"w": [0.0]}, [{"w": [1.0]}], weights=[0])
    with pytest.raises(Refused, match="bad-metric: loss is missing"):
        aggregate(Momentum, {"w": [0.0]}, [{"w": [1.0]}])
    with pytest.raises(FormulaError, match="needs at least 1 updates, got 0"):
        aggregate("fedavg", {"w": [0.0]}, [])


def test_what_is_no_aggregator_is_named() -> None:
    with pytest.raises(PluginError, match="fedavgg"):
        aggregate("fedavgg", {"w": [0.0]}, [{"w": [1.0]}])
    with pytest.raises(PluginError, match="scale"):
        aggregate(type("Wrong", (Steps,), {"of": "model"}), {"w": [0.0]}, [{"w": [1.0]}])


def test_the_models_that_come_back_may_be_written_to() -> None:
    model, _ = aggregate("fedavg", {"w": [0.0]}, [{"w": [1.0]}])
    model["w"] += 1
    assert model["w"].tolist() == [2.0]


def test_it_needs_no_pytest() -> None:
    code = """
import sys
class NoPytest:
    def find_spec(self, name, path=None, target=None):
        if name == "pytest":
            raise ImportError(name)
sys.meta_path.insert(0, NoPytest())
from fedk.testing import aggregate
print(aggregate("fedavg", {"w": [0.0]}, [{"w": [1.0]}])[0]["w"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[1.]\n", "")


def test_a_name_that_is_not_there_is_an_error_with_the_choices() -> None:
    import fedk.testing  # noqa: PLC0415 — as an author does

    with pytest.raises(AttributeError, match="has no Suite; it has AggregatorSuite, "):
        _ = fedk.testing.Suite
