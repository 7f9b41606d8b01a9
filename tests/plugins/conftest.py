"""Plugins that are not of this repository: written into a folder as an installer writes them, or really installed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import BIN, ROOT, environment

HOOK = "from fedk.api.hooks import hookimpl\nclass Plugin:\n"
BALANCER = (
    "from fedk.api.balancer import Balancer\nfrom fedk.api.config import Config\nclass Plugin(Balancer[Config]):\n"
)
STANDARD = ("protocol", "kernel", "client/python", "plugins/aggregators/fedavg", "plugins/balancers/least_loaded",
            "plugins/storage/local", "plugins/db/sqlite")  # fmt: skip


@dataclass(slots=True)
class Site:
    """A folder on the path of every process that gets `env`."""

    folder: Path
    group: str = "fedk.hooks"
    names: list[str] = field(default_factory=list)

    def put(
        self,
        name: str,
        source: str | None,
        *,
        entry: str | None = None,
        requires: Sequence[str] = (),
        distribution: str | None = None,
        summary: str = "For tests",
    ) -> None:
        """One distribution with one plugin; without a source its module is not there."""
        distribution = distribution or f"acme-{name}"
        module = distribution.replace("-", "_")
        info = self.folder / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        head = ["Metadata-Version: 2.4", f"Name: {distribution}", "Version: 1.0", f"Summary: {summary}"]
        (info / "METADATA").write_text("\n".join([*head, *(f"Requires-Dist: {r}" for r in requires), ""]), "utf-8")
        points = f"[{self.group}]\n{entry or f'{name} = {module}:Plugin'}\n"
        (info / "entry_points.txt").write_text(points, "utf-8")
        if source is not None:
            (self.folder / f"{module}.py").write_text(source, "utf-8")
        if name not in self.names:
            self.names.append(name)

    def twice(self, name: str, source: str) -> None:
        """Two distributions with one plugin each, of one name."""
        for owner in ("acme", "zeta"):
            self.put(name, source, distribution=f"{owner}-{name}")

    @property
    def env(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.folder)}

    def enabled(self, *more: str) -> dict[str, str]:
        """With all of its plugins enabled, as hooks."""
        return {**self.env, "FEDK_PLUGINS__HOOKS": json.dumps([*self.names, *more])}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


@dataclass(frozen=True, slots=True)
class Venv:
    """A fresh environment with the wheels of `fedk[standard]`, and nothing of this repository's tree."""

    folder: Path

    def run(self, *words: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
        """A command of the environment; it must succeed."""
        own = environment() | {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        own.pop("PYTHONPATH", None)
        command = [str(self.folder / "bin" / words[0]), *map(str, words[1:])]
        done = subprocess.run(command, cwd=cwd, env=own, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words: str | Path, cwd: Path) -> Any:
        return json.loads(self.run(*words, cwd=cwd).stdout)


@pytest.fixture(scope="session")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Venv:
    """Made once for all tests: wheels of the tree's own, dependencies as the index has them."""
    folder = tmp_path_factory.mktemp("venv")
    wheels = folder / "wheels"
    for source in STANDARD:
        build(ROOT / source, wheels)
    made(sys.executable, "-m", "venv", folder / "env")
    python = folder / "env" / "bin" / "python"
    made(BIN / "uv", "pip", "install", "-q", "--python", python, "--find-links", wheels, "fedk[standard]")
    return Venv(folder / "env")


def build(source: Path, wheels: Path) -> None:
    """A wheel, from a copy: a build leaves nothing in the tree."""
    copy = wheels.parent / "sources" / source.name
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("tests", "__pycache__", ".venv"))
    made(BIN / "uv", "build", "-q", "--wheel", "--no-build-isolation", "--python", sys.executable, "-o", wheels, copy)


def made(*words: str | Path) -> None:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
