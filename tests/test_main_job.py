"""The main job: five clients with unlike images of digits make a model that none of them could make alone."""

from pathlib import Path

import pytest
from tests.conftest import ROOT, Fedk

pytestmark = pytest.mark.aside

DIGITS = ROOT / "examples" / "digits"


def test_federated_digits_are_near_centralised_ones_for_three_splits(fedk: Fedk) -> None:
    found = fedk("python", DIGITS / "compare.py", "--seeds", "1,2,3", "--json").json
    assert list(found) == ["1", "2", "3"]
    for one in found.values():
        assert one["federated_accuracy"] >= one["alone_accuracy"] + 0.10, one
        assert one["federated_accuracy"] >= one["centralised_accuracy"] - 0.02, one


def test_small_rounds_take_no_time(fedk: Fedk) -> None:
    """Not a timed test: a polling server needs a second and more for each of these rounds."""
    app = f"{ROOT / 'examples' / 'echo' / 'client.py'}:app"
    document = fedk("run", app, "--clients", "10", "--rounds", "50", "--data-dir", "D", "--json").json
    assert (document["status"], document["rounds"]) == ("finished", 50)
    assert document["seconds_per_round"] < 1.0


def test_a_finished_run_leaves_a_directory_that_can_be_read(fedk: Fedk, tmp_path: Path) -> None:
    app = f"{ROOT / 'examples' / 'echo' / 'client.py'}:app"
    said = fedk("run", app, "--clients", "2", "--rounds", "2", "--data-dir", "D").out.splitlines()
    for line in said[-2:]:  # the next-step lines, as they are printed
        command = line[line.index("fedk ") :].split()[1:]
        fedk(*command)
    assert list(tmp_path.glob("*.safetensors"))
    assert "chain whole" in fedk("model", "trail", "--data-dir", "D", "--verify").out
