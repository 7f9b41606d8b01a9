"""What `fedk plugins new` writes passes its own tests, lint, types and build at once, uninstalled."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import BIN, Fedk, environment

from fedk.catalogue import KINDS

WHEEL = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "dist", ".")


@pytest.fixture(scope="session")
def types(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What mypy knows of fedk itself, for all kinds together."""
    return str(tmp_path_factory.mktemp("mypy"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_is_whole(kind: str, fedk: Fedk, tmp_path: Path, types: str) -> None:
    said = fedk("plugins", "new", kind, "demo-one", "--dir", "T", "--author", "Ana", "--license", "MIT")
    folder = tmp_path / "T" / "fedk-plugin-demo-one"
    assert said.out.splitlines()[0] == "T/fedk-plugin-demo-one"
    for words in (
        ("pytest", "-q"),
        ("ruff", "check"),
        ("ruff", "format", "--check"),
        ("mypy", "--cache-dir", types),
        *([("fedk", "plugins", "check", ".")] if kind == "hook" else []),
        WHEEL,
    ):
        done = subprocess.run(
            [str(BIN / words[0]) if "/" not in words[0] else words[0], *words[1:]],
            cwd=folder, env=environment(), capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    assert list((folder / "dist").glob("fedk_plugin_demo_one-0.1.0-*.whl"))
    assert "Ana" in (folder / "LICENSE").read_text("utf-8")
    recorded = folder / "src" / "fedk_plugin_demo_one" / "conformance.json"
    assert recorded.is_file() == (kind == "hook")
