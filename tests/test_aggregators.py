"""Every mean-shaped aggregator in a whole federation, with one client that serves them all."""

import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tests.conftest import Fedk

import fedk
from fedk.local.notebook import Run
from fedk_client.loading import load

pytestmark = pytest.mark.aside

CLIENT = Path(__file__).parent / "clients" / "quadratic.py"
APP = load(f"{CLIENT}:app")
QUADRATIC: Any = sys.modules[APP.model.__module__]
Vector = NDArray[np.float64]

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
    return float(np.abs(run.model["w"] - QUADRATIC.optimum(parts)).max())


@pytest.mark.parametrize("aggregator", SETTINGS)
def test_fifteen_rounds_make_the_model_better(aggregator: str) -> None:
    rules = {"aggregator": {"use": aggregator, aggregator: SETTINGS[aggregator]}}
    run = fedk.run(APP, clients=4, rounds=15, settings={"steps": 5}, rules=rules, show=False)
    assert (run.status, run.rounds) == ("finished", 15)
    assert loss(run, 15) < 0.8 * loss(run, 0)


STEPS, ROUNDS = 5, 40


class Came(NamedTuple):
    """An update: the model that a client sends, the one that it was given, and how many have been made since."""

    y: Vector
    base: Vector
    age: int


def trained(part: int, w: Vector) -> Vector:
    """What the client of this part makes of a model in so many steps."""
    own = QUADRATIC.parabola(part)
    for _ in range(STEPS):
        w = w - QUADRATIC.RATE * own.a * (w - own.t)
    return w


def buffered(x: Vector, came: Sequence[Came]) -> Vector:
    """FedBuff, Algorithm 1, with a server's step of 1."""
    return np.asarray(x + np.mean([(1 + one.age) ** -0.5 * (one.y - one.base) for one in came], axis=0))


def mixed(x: Vector, came: Sequence[Came]) -> Vector:
    """FedAsync, Algorithm 1, with α = 0.6 and the polynomial of a = 1/2."""
    return np.asarray(x + np.mean([0.6 * (1 + one.age) ** -0.5 * (one.y - x) for one in came], axis=0))


@pytest.mark.parametrize(("aggregator", "buffer", "formula"), [("fedbuff", 3, buffered), ("fedasync", 1, mixed)])
def test_an_asynchronous_session_is_its_paper_s_formula_in_the_order_in_which_updates_came(
    aggregator: str, buffer: int, formula: Callable[..., Vector], tmp_path: Path, fedk: Fedk
) -> None:
    """Every model is made again of the one before it, and of what each client makes of the one that it was given."""
    at = ("--data-dir", tmp_path / "data")
    own = ("mode=async", f"async.buffer={buffer}", f"aggregator.use={aggregator}", f"steps={STEPS}")
    more = [word for one in own for word in ("--set", one)]
    fedk("run", f"{CLIENT}:app", "--clients", "4", "--rounds", str(ROUNDS), *at, *more)
    models = [np.zeros(3)]
    for came in contributions(tmp_path / "data"):
        head = len(models) - 1
        updates = [Came(trained(part, models[base]), models[base], head - base) for part, base in came]
        models.append(formula(models[-1], updates))
    assert len(models) == ROUNDS + 1
    fedk("model", "get", f"clients-1/{ROUNDS}", "-o", tmp_path / "last", *at)
    np.testing.assert_allclose(load_file(tmp_path / "last")["w"], models[-1], rtol=1e-9)


def contributions(data: Path) -> list[list[tuple[int, int]]]:
    """By model, from the first round's on: who is in it, by part, and the model that each was given."""
    query = (
        "SELECT m.round, c.client_name, k.base FROM contributions c JOIN models m ON m.id = c.model "
        "JOIN tasks k ON k.id = c.task WHERE m.round > 0 ORDER BY m.round"
    )
    with closing(sqlite3.connect(data / "fedk.sqlite")) as db:
        rows = db.execute(query).fetchall()
    return [
        [(int(name.removeprefix("client-")) - 1, base) for _, name, base in found]
        for _, found in groupby(rows, key=itemgetter(0))
    ]


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
