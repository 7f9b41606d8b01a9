import json
from pathlib import Path
from typing import Any

import pytest

from fedk.catalogue import KINDS


def test_what_is_installed_is_listed_by_kind_and_name(fedk: Any) -> None:
    lines = fedk("plugins", "list").out.splitlines()
    assert lines[0].split() == ["kind", "name", "state", "distribution", "summary"]
    rows = [line.split()[:2] for line in lines[1:-1]]
    assert rows == sorted(rows, key=lambda row: (list(KINDS).index(row[0]), row[1]))
    assert ["balancer", "least-loaded"] in rows
    assert lines[-1].endswith(" plugins")


def test_the_list_as_json_has_an_object_for_each(fedk: Any) -> None:
    found = {(one["kind"], one["name"]): one for one in json.loads(fedk("plugins", "list", "--json").out)}
    one = found["balancer", "least-loaded"]
    assert one.keys() >= {"kind", "name", "state", "distribution", "version", "summary", "error"}
    assert (one["state"], one["distribution"], one["error"]) == ("available", "fedk-plugin-least-loaded", "")


def test_a_driver_that_the_configuration_asks_for_and_that_is_not_installed_needs_attention(fedk: Any) -> None:
    Path("fedk.toml").write_text('[db]\nuse = "postgres"\n', "utf-8")
    out = fedk("plugins", "list").out
    assert "missing" in out
    assert out.endswith("1 need attention: fedk plugins show postgres\n")
    shown = fedk("plugins", "show", "postgres").out.splitlines()
    assert shown[0] == "db postgres   missing"
    assert shown[1:] == [
        "  why   is not installed",
        "  next  Installed: sqlite.  pip install fedk-plugin-<name> adds one, for the next start.",
    ]


def test_what_metadata_says_steers_no_terminal(fedk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "path" / "acme_evil-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: acme-evil\nVersion: 1.0\nSummary: \x1b[2J\u202e\n", "utf-8"
    )
    (info / "entry_points.txt").write_text("[fedk.hooks]\nevil\x9b2J = acme_evil\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path / "path")
    for words in (("list",), ("list", "--json"), ("show", "acme-evil:evil\x9b2J"), ("check",)):
        assert all(map(str.isprintable, fedk("plugins", *words).out.split("\n"))), words
    assert "\\x1b[2J\\u202e" in fedk("plugins", "list").out


def test_a_configuration_with_mistakes_does_not_hide_the_plugins(fedk: Any) -> None:
    Path("fedk.toml").write_text("[db]\nuse = 3\n", "utf-8")
    outcome = fedk("plugins", "list")
    assert (outcome.code, "least-loaded" in outcome.out) == (0, True)
    assert outcome.err == "fedk.toml has mistakes: fedk config check\n"


def test_one_plugin_is_shown_with_its_keys(fedk: Any) -> None:
    out = fedk("plugins", "show", "least-loaded").out
    assert out.startswith("balancer least-loaded   available   fedk-plugin-least-loaded 0.1.0, Apache-2.0, fedk")
    assert '  by   "clients"  "clients" | "load"  number of clients, or the load that servers report' in out
    assert '  use it:  [balancer] use = "least-loaded"' in out


def test_one_plugin_as_json_has_its_schema(fedk: Any) -> None:
    one = json.loads(fedk("plugins", "show", "least-loaded", "--kind", "balancer", "--json").out)
    assert one["config_schema"]["properties"]["by"]["default"] == "clients"


def test_a_plugin_that_is_not_installed_is_answered_with_the_nearest(fedk: Any) -> None:
    outcome = fedk("plugins", "show", "least-loadad")
    assert outcome.code == 1
    assert 'Did you mean "least-loaded"?' in outcome.err


def written(folder: Path, name: str, source: str, group: str = "fedk.hooks") -> None:
    info = folder / f"acme_{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: acme-{name}\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = acme_{name}:Plugin\n", "utf-8")
    (folder / f"acme_{name}.py").write_text(source, "utf-8")


HANGS = "import threading\nthreading.Event().wait()\n"
GOOD = "from fedk.api.hooks import hookimpl\nclass Plugin:\n  @hookimpl\n  def event(self): ...\n"


def test_a_check_imports_each_plugin_apart_and_says_how_each_fails(
    fedk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedk.catalogue.probe.PATIENCE", 4.0)
    monkeypatch.setenv("FEDK_PLUGINS__ALLOW", '["hangs", "exits", "crashes", "raises", "talks", "least-loaded"]')
    site = tmp_path / "site"
    for name, source in {
        "hangs": HANGS,
        "exits": "import os; os._exit(7)",
        "crashes": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "raises": "raise ValueError('x')",
        "talks": "import sys\nprint('{}')\nsys.stderr.write('x' * 10**6)\n" + GOOD,
    }.items():
        written(site, name, source)
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(site)
    outcome = fedk("plugins", "check", "--json")
    found = {one["name"]: one for one in json.loads(outcome.out)}
    assert outcome.code == 1
    assert {name: found[name]["state"] for name in ("hangs", "exits", "crashes", "raises", "talks")} == {
        "hangs": "failed", "exits": "failed", "crashes": "failed", "raises": "failed", "talks": "available",
    }  # fmt: skip
    assert found["hangs"]["error"] == "timeout: its import has not ended after 4 s"
    assert found["hangs"]["hint"] == "To do without it: Ctrl-C, then FEDK_PLUGINS__DISABLED='[\"hangs\"]'"
    assert found["exits"]["error"] == "its import ended the process: exit code 7"
    assert found["crashes"]["error"] == "its import ended the process: signal 11 (SIGSEGV)"
    assert found["raises"]["error"] == "cannot be loaded: ValueError: x"
    assert found["talks"]["hooks"] == ["event"]
    assert found["least-loaded"]["config_schema"]["properties"]["by"]["default"] == "clients"


def test_a_check_of_one_plugin_that_is_well_exits_with_0(fedk: Any) -> None:
    outcome = fedk("plugins", "check", "least-loaded")
    assert (outcome.code, outcome.out.splitlines()[-1]) == (0, "1 plugins")


def test_freeze_writes_a_lock_that_passes(fedk: Any) -> None:
    outcome = fedk("plugins", "freeze")
    assert outcome.out.startswith("fedk.lock: ")
    assert 'distribution = "fedk-plugin-least-loaded"' in Path("fedk.lock").read_text("utf-8")
    assert "[[plugin]]" in fedk("plugins", "freeze", "-o", "-").out


def test_what_cannot_be_written_is_said_with_the_choices(fedk: Any) -> None:
    for arguments, text in {
        ("aggregater", "demo"): '"aggregater" is no kind of plugin: aggregator, balancer, storage, db, codec, hook.',
        ("aggregator", "My Demo"): '"My Demo" is no name: lower-case letters',
        ("aggregator", "demo", "--license", "MTI"): 'Did you mean "MIT"?',
    }.items():
        outcome = fedk("plugins", "new", *arguments)
        assert outcome.code == 2
        assert text in outcome.err
    assert fedk("plugins", "new", "aggregator", "fedk-plugin-demo").code == 0
    outcome = fedk("plugins", "new", "aggregator", "demo")
    assert outcome.code == 1
    assert "fedk-plugin-demo is there already" in outcome.err


def test_the_check_of_a_folder_names_all_that_would_be_missed(fedk: Any, tmp_path: Path) -> None:
    folder = tmp_path / "acme"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "acme"\nversion = "1"\ndependencies = ["fedk>=9"]\n'
        '[project.entry-points."fedk.hook"]\nx = "acme:X"\n[project.entry-points."fedk.hooks"]\ny = "acme:Y z"\n',
        "utf-8",
    )
    outcome = fedk("plugins", "check", str(folder))
    assert outcome.code == 1
    lines = [line.split(maxsplit=2)[2] for line in outcome.out.splitlines() if line.startswith("metadata")]
    assert lines == [
        "project.description is needed in pyproject.toml",
        "project.readme is needed in pyproject.toml",
        "project.license is needed in pyproject.toml",
        "project.requires-python is needed in pyproject.toml",
        'the group "fedk.hook" is none. Did you mean "fedk.hooks"?',
        'its entry point "y = acme:Y z" is malformed: wants NAME = MODULE:CLASS',
        '"fedk>=9" has no bounds on both sides: "fedk>=0.1,<0.2"',
    ]


def test_a_folder_without_a_project_is_said(fedk: Any, tmp_path: Path) -> None:
    outcome = fedk("plugins", "check", str(tmp_path))
    assert outcome.code == 1
    assert "it has no pyproject.toml. fedk plugins new  makes one" in outcome.err
