"""Pages that list what the code has list all of it, and nothing else."""

import re
import subprocess
import sys

import pytest
from tests.conftest import ROOT

from fedk.admin import health, pages
from fedk.admin.app import V1
from fedk.catalogue import KINDS
from fedk.catalogue.implementation import HOOKS

pytestmark = pytest.mark.aside


def test_tables_of_keys_rules_and_commands_are_those_of_the_code() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "reference.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rest_path_is_in_the_page_and_no_other() -> None:
    routes = [("", route) for route in (*health.routes, *pages.routes)] + [("/api/v1", route) for route in V1]
    has = {
        f"{method} {below}{route.path.replace(':path', '')}"
        for below, route in routes
        for method in route.methods or ()
        if method != "HEAD"
    }
    said = set(re.findall(r"^\| `([A-Z]+ /[^`]*)`", (ROOT / "docs" / "rest.md").read_text(), re.MULTILINE))
    assert said == has


def test_every_hook_and_family_is_in_the_authors_reference_and_has_its_page() -> None:
    folder = ROOT / "docs" / "plugins"
    text = (folder / "reference.md").read_text()
    assert not [name for name in HOOKS if f"`{name}(" not in text]
    assert not [kind for kind in KINDS if not (folder / f"{kind}.md").is_file() or f"## {kind}, group" not in text]


def test_files_that_contributing_names_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    way = text[text.index("## An update's way") : text.index("## A plugin")]
    client, kernel = way.split("In `kernel/src/fedk/`:")
    for part, folder in ((client, "client/python/src/fedk_client"), (kernel, "kernel/src/fedk")):
        for name in re.findall(r"`([\w/]+\.py)`", part):
            known = [ROOT / folder / name, ROOT / "kernel/src/fedk" / name, ROOT / "protocol/src" / name]
            assert any(file.is_file() for file in known), name


def test_folders_of_the_maps_exist() -> None:
    for page in ("README.md", "CONTRIBUTING.md"):
        block = re.search(r"## The map\n\n```\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
        assert block is not None
        for name in re.findall(r"^([a-z][\w/]*)/ ", block[1], re.MULTILINE):
            assert any(ROOT.glob(name.replace("KIND", "*").replace("NAME", "*"))), f"{page}: {name}"


def test_links_between_files_lead_somewhere() -> None:
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text()):
            assert (ROOT / target).exists(), f"{page}: {target}"


def test_the_unit_starts_the_server_and_leaves_a_bad_configuration_alone() -> None:
    unit = (ROOT / "deploy" / "fedk.service").read_text()
    assert "fedk server --config /etc/fedk/fedk.toml" in unit
    assert "RestartPreventExitStatus=78" in unit


def test_changelog_begins_with_this_version() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "kernel" / "pyproject.toml").read_text(), re.MULTILINE)
    first = re.search(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert version is not None
    assert first is not None
    assert first[1] == version[1]
