import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from fedk.api.toml import toml, toml_key
from fedk.settings import Settings, load


def test_the_example_gives_the_defaults_and_a_meaning_for_every_key(fedk: Any) -> None:
    text = fedk("config", "example").out
    Path("fedk.toml").write_text(text, "utf-8")
    settings = load().checked()
    assert settings.model_copy(update={name: getattr(Settings(), name) for name in ("db", "storage", "balancer")}) == (
        Settings()
    )
    assert (settings.db.use, settings.storage.use, settings.balancer.use) == ("sqlite", "local", "least-loaded")
    for section, table in tomllib.loads(text).items():
        for key in table:
            assert f"\n{key} = " in text or f"[{section}.{key}]" in text
    assert all("# " in line for line in text.splitlines() if " = " in line)
    assert fedk("config", "check").code == 0


def test_the_example_has_every_setting_there_is(fedk: Any) -> None:
    found = tomllib.loads(fedk("config", "example").out)
    defaults = Settings().model_dump(mode="json")
    for section, keys in defaults.items():
        assert found.get(section, {}).keys() >= keys.keys()


def test_a_configuration_without_mistakes_is_ok(fedk: Any) -> None:
    assert fedk("config", "check").out == "no fedk.toml here, all defaults: ok\n"
    Path("fine.toml").write_text('[server]\nname = "x"\n', "utf-8")
    assert fedk("config", "check", "--config", "fine.toml").out == "fine.toml: ok\n"


def test_mistakes_of_settings_and_of_drivers_are_one_table(fedk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDK_BALANCER__LEAST_LOADED__YB", "load")
    Path("fedk.toml").write_text(
        '[server]\nlisten = "6090"\n[storage]\nuse = "lcal"\n[db.sqlit]\n[balancer.least-loaded]\nby = "luck"\n',
        "utf-8",
    )
    outcome = fedk("config", "check")
    assert (outcome.code, outcome.out) == (78, "")
    lines = [line.split("   ", 1) for line in outcome.err.splitlines()]
    assert lines[0] == ["fedk.toml: 5 mistakes"]
    assert [line[0].strip() for line in lines[1:]] == [
        "line 2", "line 4", "line 5", "line 7", "FEDK_BALANCER__LEAST_LOADED__YB",
    ]  # fmt: skip
    assert 'is not installed. Installed: local. Did you mean "local"?' in outcome.err
    assert "Did you mean [db.sqlite]?" in outcome.err
    assert 'balancer.least-loaded.by = "luck"' in outcome.err
    assert "Did you mean balancer.least-loaded.by?" in outcome.err


def test_a_named_file_that_is_missing_exits_78(fedk: Any) -> None:
    Path("fedk.toml").write_text("", "utf-8")
    outcome = fedk("config", "check", "--config", "fdk.toml")
    assert outcome.code == 78
    assert outcome.err.startswith("fedk: no file fdk.toml (in ")
    assert outcome.err.endswith("Did you mean fedk.toml?\n")


def test_what_is_in_force_is_shown_with_its_source(fedk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDK_LOG__LEVEL", "debug")
    Path("fedk.toml").write_text('[balancer.least-loaded]\nby = "load"\n', "utf-8")
    text = fedk("config", "show").out
    shown = tomllib.loads(text)
    assert (shown["log"]["level"], shown["balancer"]["least-loaded"]["by"]) == ("debug", "load")
    document = json.loads(fedk("config", "show", "--json").out)
    assert document["log.level"] == {"value": "debug", "source": "FEDK_LOG__LEVEL"}
    assert document["balancer.least-loaded.by"] == {"value": "load", "source": "fedk.toml line 2"}
    assert document["server.listen"] == {"value": "127.0.0.1:6090", "source": "default"}


def test_what_is_shown_has_no_secrets(fedk: Any) -> None:
    Path("fedk.toml").write_text('[hooks.slack]\ntoken = "xoxb-1"\nurl = "https://u:pw@h/"\n', "utf-8")
    for arguments in ((), ("--json",)):
        text = fedk("config", "show", *arguments).out
        assert "xoxb-1" not in text
        assert "pw@" not in text


@pytest.mark.parametrize(
    "value",
    ["plain", 'with "quotes" and \\', "line\nbreak\t\x00\x7f", "Grüße ✓ 🙂", True, -3, 0.5, 1e300, [1, "a", []], {"a b": {"c": 1}}, {}],
)  # fmt: skip
def test_values_are_written_as_toml_reads_them(value: Any) -> None:
    assert tomllib.loads(f"{toml_key('a b', 'c')} = {toml(value)}") == {"a b": {"c": value}}


def test_a_hook_plugin_that_is_missing_is_a_warning_and_with_strict_a_mistake(fedk: Any) -> None:
    Path("fedk.toml").write_text('[plugins]\nhooks = ["slakc"]\n', "utf-8")
    outcome = fedk("config", "check")
    assert outcome.code == 0
    assert outcome.err.startswith('warning: hook "slakc" is not installed. Installed: ')
    Path("fedk.toml").write_text('[plugins]\nhooks = ["slakc"]\nstrict = true\n', "utf-8")
    outcome = fedk("config", "check")
    assert outcome.code == 78
    assert outcome.err.splitlines()[1].startswith('  line 2   plugins.hooks   names "slakc", which is not installed. ')


def test_a_lock_that_does_not_fit_is_told_before_anything_is_imported(fedk: Any) -> None:
    assert fedk("plugins", "freeze").code == 0
    Path("fedk.toml").write_text('[plugins]\nlock = "fedk.lock"\n', "utf-8")
    assert fedk("config", "check").code == 0
    text = Path("fedk.lock").read_text("utf-8")
    Path("fedk.lock").write_text(text.replace('version = "0.1.0"', 'version = "0.0.9"', 1), "utf-8")
    outcome = fedk("config", "check")
    assert outcome.code == 78
    assert outcome.err.startswith("fedk.lock (plugins.lock): 1 of the installed plugins differ\n")
