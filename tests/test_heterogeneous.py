"""The example of unlike clients: its table, its plot, and what it is there to show."""

import json
from pathlib import Path

import pytest
from tests.conftest import ROOT, Fedk

pytestmark = pytest.mark.aside

COMPARE = ROOT / "examples" / "heterogeneous" / "compare.py"


def test_scaffold_goes_ahead_of_fedavg_where_clients_know_two_digits_each(fedk: Fedk, tmp_path: Path) -> None:
    words = ("--only", "fedavg,scaffold", "--rounds", "8", "--json", "--plot", "curves.svg")
    fedavg, scaffold = json.loads(fedk("python", COMPARE, *words).out)
    assert [one["aggregator"] for one in (fedavg, scaffold)] == ["fedavg", "scaffold"]
    assert len(scaffold["accuracy"]) == 8
    assert scaffold["accuracy"][-1] > fedavg["accuracy"][-1] + 0.05
    assert "<svg" in (tmp_path / "curves.svg").read_text()


def test_a_target_that_is_not_reached_is_said_so(fedk: Fedk) -> None:
    table = fedk("python", COMPARE, "--only", "fedavg", "--rounds", "1").out
    assert "fedavg            not in 1" in table
