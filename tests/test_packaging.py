"""The distributions fit together: one version, ranges that contain it, lists that are what the tree is."""

import re
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from fedk.catalogue import KINDS

pytestmark = pytest.mark.aside

ROOT = Path(__file__).resolve().parent.parent
PROJECTS = sorted(
    p for where in ("protocol", "kernel", "client/*", "plugins/*/*") for p in ROOT.glob(f"{where}/pyproject.toml")
)
PLUGINS = sorted(ROOT.glob("plugins/*/*/pyproject.toml"))


def project(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(path.read_text())["project"]
    return found


def test_all_distributions_have_one_version() -> None:
    assert len({project(path)["version"] for path in PROJECTS}) == 1


@pytest.mark.parametrize("path", PROJECTS, ids=lambda p: p.parent.name)
def test_ranges_between_distributions_contain_their_version(path: Path) -> None:
    version = project(path)["version"]
    extras = project(path).get("optional-dependencies", {})
    wanted = [*project(path)["dependencies"], *chain.from_iterable(extras.values())]
    for requirement in map(Requirement, wanted):
        if requirement.name.startswith("fedk") and requirement.specifier:
            assert version in requirement.specifier, requirement


def test_fedk_all_brings_every_plugin_of_the_tree() -> None:
    extras = project(ROOT / "kernel/pyproject.toml")["optional-dependencies"]
    named = {Requirement(r).name for r in extras["all"] + extras["standard"]}
    assert {project(path)["name"] for path in PLUGINS} <= named


@pytest.mark.parametrize("path", PLUGINS, ids=lambda p: p.parent.name)
def test_a_plugin_folder_is_named_like_its_import_and_holds_the_same_things(path: Path) -> None:
    folder = path.parent
    assert project(path)["name"] == f"fedk-plugin-{folder.name.replace('_', '-')}"
    assert (folder / "src" / f"fedk_plugin_{folder.name}" / "__init__.py").is_file()
    assert (folder / "src" / f"fedk_plugin_{folder.name}" / "py.typed").is_file()
    assert (folder / "README.md").is_file()
    assert list((folder / "tests").glob("test_*.py"))


@pytest.mark.parametrize("path", PLUGINS, ids=lambda p: p.parent.name)
def test_a_plugin_runs_the_suite_of_its_family(path: Path) -> None:
    kind = next(kind for kind in KINDS.values() if kind.group in project(path)["entry-points"])
    suite = {"db": "DatabaseSuite"}.get(kind.name, f"{kind.name.capitalize()}Suite")
    tests = "".join(file.read_text("utf-8") for file in (path.parent / "tests").glob("test_*.py"))
    assert re.search(rf"class \w+\([^)]*{suite}\b", tests), f"no class of its tests is a {suite}"


def test_the_kernels_dependencies_each_have_a_reason() -> None:
    lines = (ROOT / "kernel/pyproject.toml").read_text().split("dependencies = [")[1].split("]\n")[0]
    for line in filter(None, map(str.strip, lines.splitlines())):
        assert "#" in line, f"no reason: {line}"
