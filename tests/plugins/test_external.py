"""A plugin from outside the tree: built into a wheel, installed with pip, trained with, and gone without a trace."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import Fedk, Installed

CLIENT = """
import numpy as np
from fedk_client import ClientApp, Update

app = ClientApp(model=lambda: {"w": np.zeros(4)})

@app.train
def train(net, task):
    return Update({"w": net["w"] + 1}, num_examples=3, metrics={"loss": 1.0})
"""
SESSION = """
rounds = 2
[clients]
min = 2
[validation]
every = 0
[aggregator]
use = "demo"
[aggregator.demo]
learning_rate = 0.5
"""


@pytest.fixture
def wheel(fedk: Fedk, tmp_path: Path) -> Path:
    """What an author has after `fedk plugins new` and a build."""
    fedk("plugins", "new", "aggregator", "demo")
    source, out = tmp_path / "fedk-plugin-demo", tmp_path / "wheels"
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", out, source],
        check=True,
        timeout=300,
    )
    (found,) = out.glob("*.whl")
    return found


def test_a_session_trains_with_it_and_after_pip_uninstall_there_is_no_trace(
    wheel: Path, installed: Installed, tmp_path: Path
) -> None:
    installed.install("pip")
    before = installed.run("fedk", "plugins", "list", "--json", cwd=tmp_path).out
    installed.run("pip", "install", "-q", "--no-index", wheel, cwd=tmp_path)
    (listed,) = [
        p for p in installed.run("fedk", "plugins", "list", "--json", cwd=tmp_path).json if p["name"] == "demo"
    ]
    assert (listed["kind"], listed["state"], listed["error"]) == ("aggregator", "available", "")
    assert (listed["distribution"], listed["version"]) == ("fedk-plugin-demo", "0.1.0")

    (tmp_path / "client.py").write_text(CLIENT, "utf-8")
    (tmp_path / "session.toml").write_text(SESSION, "utf-8")
    run = ("fedk", "run", "client.py:app", "--session", "session.toml", "--data-dir", "data", "--json")
    assert installed.run(*run, cwd=tmp_path).json["status"] == "finished"
    trail = installed.run("fedk", "model", "trail", "latest", "--data-dir", "data", "--json", cwd=tmp_path).out
    assert '"demo"' in trail
    installed.run("fedk", "model", "get", "latest", "-o", "m.safetensors", "--data-dir", "data", cwd=tmp_path)
    weights = (
        "from fedk.api.codec import Safetensors; print(*Safetensors().decode(open('m.safetensors', 'rb').read())['w'])"
    )
    assert installed.run("python", "-c", weights, cwd=tmp_path).out.split() == ["1.0"] * 4  # two half steps

    installed.run("pip", "uninstall", "-q", "-y", "fedk-plugin-demo", cwd=tmp_path)
    assert installed.run("fedk", "plugins", "list", "--json", cwd=tmp_path).out == before
