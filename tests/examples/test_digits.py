"""The digits: what each client holds, and what the comparison says of a federation."""

import runpy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.conftest import ROOT, Fedk

from fedk_client import Client

FOLDER = ROOT / "examples" / "digits"


@pytest.fixture(scope="module")
def digits() -> Any:
    """The names of the example's client.py."""
    return SimpleNamespace(**runpy.run_path(str(FOLDER / "client.py")))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_image_is_tested_or_with_one_client(digits: Any, seed: int) -> None:
    images, test = digits.digits()
    dealt = digits.deal(images.y, 5, seed)
    assert (len(test.y), sum(len(rows) for rows in dealt)) == (360, 1437)
    assert sorted(np.concatenate(dealt)) == list(range(1437))


def test_no_client_holds_an_image_of_the_test(digits: Any) -> None:
    _, test = digits.digits()
    tested = {row.tobytes() for row in test.x}
    for part in range(5):
        own = digits.data(Client("c", part, 5))
        assert tested.isdisjoint(row.tobytes() for row in (*own.train.x, *own.validate.x))


def test_clients_are_unlike_most_lack_some_digit(digits: Any) -> None:
    images, _ = digits.digits()
    lacking = [len(np.unique(images.y[rows])) < 10 for rows in digits.deal(images.y, 5, 1)]
    assert sum(lacking) >= 3


def test_another_split_seed_deals_anew_and_the_same_one_alike(digits: Any) -> None:
    first, again = (digits.data(Client("c", 0, 5, options={"split_seed": "2"})) for _ in range(2))
    other = digits.data(Client("c", 0, 5, options={"split_seed": "3"}))
    assert np.array_equal(first.train.x, again.train.x)
    assert first.train.x.shape != other.train.x.shape


def test_a_short_federation_is_compared(fedk: Fedk) -> None:
    words = ("--clients", "5", "--rounds", "2", "--set", "epochs=1", "--data-dir", "D", "--json")
    run = fedk("run", f"{FOLDER / 'client.py'}:app", *words).json
    assert (run["status"], run["rounds"]) == ("finished", 2)
    found = fedk("python", FOLDER / "compare.py", "--data-dir", "D", "--json").json
    assert set(found) == {"federated_accuracy", "alone_accuracy", "centralised_accuracy", "alone"}
    assert len(found["alone"]) == 5
    assert found["alone_accuracy"] < found["federated_accuracy"] < 1
    shown = fedk("python", FOLDER / "compare.py", "--data-dir", "D").out
    assert [line.split()[0] for line in shown.splitlines()] == ["360", "each", "federated,", "centralised,"]


def test_another_split_than_the_federations_is_told_apart(fedk: Fedk) -> None:
    words = ("--clients", "3", "--rounds", "1", "--option", "split_seed=2", "--data-dir", "D")
    fedk("run", f"{FOLDER / 'client.py'}:app", *words)
    failed = fedk("python", FOLDER / "compare.py", "--data-dir", "D", code=1)
    assert "give its --split-seed" in failed.err


def test_a_directory_without_a_federation_is_named(fedk: Fedk) -> None:
    failed = fedk("python", FOLDER / "compare.py", "--data-dir", "nowhere", code=1)
    assert "no directory nowhere" in failed.err
    assert "Traceback" not in failed.err
