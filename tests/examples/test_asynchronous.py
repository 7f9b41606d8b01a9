"""Clients of unlike speed: who is how slow, and that a buffer is ahead of rounds that wait for the slowest."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.conftest import ROOT, Fedk

from fedk_client import Client

FOLDER = ROOT / "examples" / "asynchronous"


@pytest.fixture(scope="module")
def example() -> Any:
    """The names of the example's client.py."""
    return SimpleNamespace(**runpy.run_path(str(FOLDER / "client.py")))


def test_the_last_of_ten_clients_is_ten_times_as_slow_as_the_first_and_an_option_says_otherwise(example: Any) -> None:
    slow = [example.slowness(Client("c", part, 10)) for part in range(10)]
    assert (slow[0], slow[-1]) == (1.0, pytest.approx(10.0))
    assert slow == sorted(slow)
    assert example.slowness(Client("c", 9, 10, options={"slowness": "3.5"})) == 3.5


def test_every_image_is_trained_on_by_one_client_or_tested(example: Any) -> None:
    owns = [example.data(Client("c", part, 10)) for part in range(10)]
    assert sum(len(own.train.y) for own in owns) + len(owns[0].test.y) == 1797


def test_fedbuff_is_as_good_as_fedavg_in_less_time(fedk: Fedk, tmp_path: Path) -> None:
    words = ("--clients", "4", "--updates", "12", "--seconds", "0.2", "--only", "fedavg,fedbuff")
    found = fedk("python", FOLDER / "compare.py", *words, "--json", "--plot", "curves.svg").out
    fedavg, fedbuff = json.loads(found)
    assert (fedavg["mode"], fedbuff["mode"], fedavg["updates"][-1]) == ("sync", "async", 12)
    assert fedavg["seconds"][-1] > 3 * 10 * 0.2 * 0.9  # three rounds, each as long as its slowest client
    assert reached(fedbuff, 0.7) < reached(fedavg, 0.7)
    assert "<svg" in (tmp_path / "curves.svg").read_text()


def reached(course: Any, target: float) -> float:
    """Seconds until the first model that is so good."""
    return float(next(at for at, share in zip(course["seconds"], course["accuracy"], strict=True) if share >= target))
