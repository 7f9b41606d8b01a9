"""The attack's example: what a lie is, and who holds against two of them."""

import json
import runpy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.conftest import ROOT, Fedk

from fedk_client import Client

FOLDER = ROOT / "examples" / "attack"


@pytest.fixture(scope="module")
def attack() -> Any:
    """The names of the example's client.py."""
    return SimpleNamespace(**runpy.run_path(str(FOLDER / "client.py")))


def test_clients_hold_like_shares_and_no_image_twice(attack: Any) -> None:
    owns = [attack.data(Client("c", part, 12)) for part in range(12)]
    assert sum(len(own.train.y) + len(own.validate.y) for own in owns) == 1797
    assert all(len(np.unique(own.train.y)) == 10 for own in owns)


def test_a_lie_goes_back_as_many_times_as_far_as_training_went(attack: Any) -> None:
    net = attack.model()
    before = [weights.copy() for weights in (*net.coefs_, *net.intercepts_)]
    net.coefs_[0] += 0.5
    attack.lie(net, before, 10.0)
    assert np.allclose(net.coefs_[0], before[0] - 5.0)
    assert np.array_equal(net.coefs_[1], before[1])


def test_two_liars_stop_the_mean_and_not_the_median(fedk: Fedk, tmp_path: Any) -> None:
    words = ("--rounds", "4", "--only", "fedavg,fedmedian", "--plot", "curves.svg", "--json")
    clean, mean, median = json.loads(fedk("python", FOLDER / "compare.py", *words).out)
    assert (clean["liars"], mean["liars"], median["aggregator"]) == (0, 2, "fedmedian")
    assert mean["accuracy"][-1] < 0.3 < clean["accuracy"][-1] - 0.2
    assert median["accuracy"][-1] > clean["accuracy"][-1] - 0.1
    assert (tmp_path / "curves.svg").read_text().startswith("<?xml")
