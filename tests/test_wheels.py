"""What people install: the built wheels, in an empty environment, outside the repository."""

from pathlib import Path

import pytest
from tests.conftest import Installed

pytestmark = pytest.mark.aside

CLIENT = """
import numpy as np
from fedk_client import ClientApp, Task, Update, Validation

app = ClientApp(model=lambda: {"w": np.zeros(3)})

@app.train
def train(model: dict[str, np.ndarray], task: Task[None]) -> Update:
    return Update({"w": model["w"] + 1 + task.client.part}, num_examples=1)

@app.validate
def validate(model: dict[str, np.ndarray], task: Task[None]) -> Validation:
    return Validation(num_examples=1, metrics={"w": float(model["w"][0])})
"""


def test_an_installed_fedk_runs_a_client_file_of_ones_own(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(CLIENT)
    words = ("fedk", "run", "client.py:app", "--clients", "2", "--rounds", "2", "--json")
    document = installed.run(*words, cwd=tmp_path).json
    assert (document["status"], document["metrics"]) == ("finished", {"validate.w": 3.0})
    listed = installed.run("fedk", "session", "list", "--data-dir", "fedk-data", cwd=tmp_path)
    assert document["name"] in listed.out


def test_the_standard_extra_brings_the_embedded_defaults_and_nothing_else(installed: Installed, tmp_path: Path) -> None:
    found = installed.run("fedk", "plugins", "list", "--json", cwd=tmp_path).json
    assert {(one["kind"], one["name"]) for one in found} == {
        ("aggregator", "fedavg"),
        ("balancer", "least-loaded"),
        ("codec", "safetensors"),
        ("db", "sqlite"),
        ("storage", "local"),
    }


@pytest.mark.parametrize("name", ["krum", "trimmed-mean", "fedyogi"])
def test_one_aggregators_wheel_brings_that_one_and_no_other(installed: Installed, tmp_path: Path, name: str) -> None:
    before = listed(installed, tmp_path)
    installed.install(f"fedk-plugin-{name}")
    try:
        assert listed(installed, tmp_path) - before == {("aggregator", name)}
    finally:
        installed.uninstall(f"fedk-plugin-{name}")
    assert listed(installed, tmp_path) == before


def listed(installed: Installed, folder: Path) -> set[tuple[str, str]]:
    found = installed.run("fedk", "plugins", "list", "--json", cwd=folder).json
    return {(one["kind"], one["name"]) for one in found}
