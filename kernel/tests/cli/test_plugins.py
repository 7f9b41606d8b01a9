import json
from pathlib import Path
from typing import Any


def test_what_is_installed_is_listed_by_kind_and_name(fedk: Any) -> None:
    lines = fedk("plugins", "list").out.splitlines()
    assert lines[0].split() == ["kind", "name", "state", "distribution", "summary"]
    assert [line.split()[:2] for line in lines[1:3]] == [["aggregator", "fedavg"], ["balancer", "least-loaded"]]
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
        "  next  Installed: sqlite.  pip install fedk-plugin-<name> adds one.",
    ]


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
