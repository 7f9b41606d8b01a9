"""Every mean-shaped aggregator in a whole federation, with one client that serves them all."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import Fedk

import fedk
from fedk.local.notebook import Run
from fedk_client.loading import load

CLIENT = Path(__file__).parent / "clients" / "quadratic.py"
APP = load(f"{CLIENT}:app")
OPTIMUM: Callable[[int], np.ndarray[Any, Any]] = sys.modules[APP.model.__module__].optimum

ADAPTIVE = {"learning_rate": 0.05}
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "fedavg": {},
    "fedavgm": {"learning_rate": 0.3, "momentum": 0.5},
    "fedadagrad": ADAPTIVE,
    "fedadam": ADAPTIVE,
    "fedyogi": ADAPTIVE,
    "fedprox": {},
    "fednova": {},
    "scaffold": {},
    "qfedavg": {},
    "fedbuff": {},
    "fedasync": {},
}


def loss(run: Run, model: int) -> float:
    """The clients' mean loss of the model that round `model` made."""
    return float(next(row["validate.loss"] for row in run.metrics if row["round"] == model and "validate.loss" in row))


def away(run: Run, parts: int) -> float:
    """How far the last model is from where the sum of the clients' losses is least."""
    return float(np.abs(run.model["w"] - OPTIMUM(parts)).max())


@pytest.mark.parametrize("aggregator", SETTINGS)
def test_fifteen_rounds_make_the_model_better(aggregator: str) -> None:
    rules = {"aggregator": {"use": aggregator, aggregator: SETTINGS[aggregator]}}
    run = fedk.run(APP, clients=4, rounds=15, settings={"steps": 5}, rules=rules, show=False)
    assert (run.status, run.rounds) == ("finished", 15)
    assert loss(run, 15) < 0.8 * loss(run, 0)


@pytest.mark.parametrize(("aggregator", "buffer"), [("fedbuff", 3), ("fedasync", 1)])
def test_an_asynchronous_session_comes_near_the_optimum(aggregator: str, buffer: int) -> None:
    rules = {"mode": "async", "async": {"buffer": buffer}, "aggregator": {"use": aggregator}}
    run = fedk.run(APP, clients=4, rounds=40, settings={"steps": 5}, rules=rules, show=False)
    assert (run.status, run.rounds) == ("finished", 40)
    assert away(run, 4) < 0.2  # the first model is 0.90 away


def test_scaffold_ends_at_the_optimum_itself_though_a_fifth_of_the_results_is_lost() -> None:
    rules = {"aggregator": {"use": "scaffold"}, "round": {"quorum": 0.25}, "seed": 1}
    run = fedk.run(APP, clients=4, rounds=120, settings={"steps": 5, "lost": 0.2}, rules=rules, show=False)
    assert run.status == "finished"
    assert away(run, 4) < 1e-12


def test_fednova_is_not_drawn_to_who_steps_most_as_fedavg_is() -> None:
    """Clients take 2, 3, 4 and 5 steps a round and count alike."""
    ends = {}
    for aggregator in ("fedavg", "fednova"):
        rules = {"aggregator": {"use": aggregator, aggregator: {"weighting": "uniform"}}}
        ends[aggregator] = away(fedk.run(APP, clients=4, rounds=40, rules=rules, show=False), 4)
    assert ends["fednova"] < 0.5 * ends["fedavg"]


@pytest.mark.parametrize("aggregator", ["scaffold", "qfedavg"])
def test_models_are_made_again_with_all_that_clients_sent(aggregator: str, tmp_path: Path, fedk: Fedk) -> None:
    """Control variates, and losses that scale updates; the state that the server keeps between rounds."""
    more = ("--set", "steps=3", "--set", "updates.keep=all", "--set", f"aggregator.use={aggregator}")
    fedk("run", f"{CLIENT}:app", "--clients", "3", "--rounds", "4", "--data-dir", tmp_path / "data", *more)
    found = fedk("model", "trail", "--verify", "--json", "--data-dir", tmp_path / "data").json
    assert [check["verified"] for check in found["checks"]] == ["hash", *["replayed"] * 4]
