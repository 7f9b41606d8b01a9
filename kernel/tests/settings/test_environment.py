from pathlib import Path
from typing import Any

import pytest

from fedk.api.errors import ConfigError
from fedk.settings import load


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def screen(env: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load(None, env).checked()
    return str(error.value).splitlines()


def test_a_variable_overrides_the_file() -> None:
    Path("fedk.toml").write_text('[db]\nuse = "sqlite"\n[server]\nname = "a"\n', "utf-8")
    settings = load(None, {"FEDK_DB__USE": "postgres"}).checked()
    assert (settings.db.use, settings.server.name) == ("postgres", "a")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("3", 3),
        ("0.5", 0.5),
        ('["a", "b"]', ["a", "b"]),
        ('{ a = 1 }', {"a": 1}),
        ('"3"', "3"),
        ("blobs/here", "blobs/here"),
        ("", ""),
        ("256 MiB", "256 MiB"),
        ("2026-01-01", "2026-01-01"),
        ("1\nother = 2", "1\nother = 2"),
        ("[::1]:6090", "[::1]:6090"),
    ],
)  # fmt: skip
def test_a_drivers_key_is_read_as_toml_where_it_is_and_else_as_text(text: str, value: Any) -> None:
    assert load(None, {"FEDK_DB__SQLITE__PATH": text}).settings.db.tables == {"sqlite": {"path": value}}


def test_numbers_sizes_lists_and_truth_values_of_settings() -> None:
    env = {
        "FEDK_SERVER__INSECURE": "true",
        "FEDK_SERVER__LISTEN": "[::]:6090",
        "FEDK_PLUGINS__DISABLED": '["a", "b"]',
        "FEDK_PLUGINS__BUDGET": "7",
        "FEDK_LIMITS__INTAKE_BYTES": "1 MiB",
    }
    settings = load(None, env).checked()
    assert (settings.server.insecure, settings.server.listen) == (True, "[::]:6090")
    assert settings.plugins.disabled == ("a", "b")
    assert (settings.plugins.budget, settings.limits.intake_bytes) == (7, 2**20)


def test_where_text_is_wanted_digits_are_text() -> None:
    settings = load(None, {"FEDK_SERVER__NAME": "007", "FEDK_SERVER__DATA_DIR": "2026"}).checked()
    assert (settings.server.name, settings.server.data_dir) == ("007", Path("2026"))


def test_a_drivers_name_with_a_dash_is_written_with_an_underscore() -> None:
    Path("fedk.toml").write_text('[balancer.least-loaded]\nby = "load"\n', "utf-8")
    settings = load(None, {"FEDK_BALANCER__LEAST_LOADED__BY": "clients"}).checked()
    assert settings.balancer.tables == {"least-loaded": {"by": "clients"}}
    Path("fedk.toml").unlink()
    settings = load(None, {"FEDK_BALANCER__LEAST_LOADED__BY": "clients"}).checked()
    assert settings.balancer.tables == {"least-loaded": {"by": "clients"}}


def test_a_mistake_names_the_variable() -> None:
    env = {
        "FEDK_SERVER__LISTEN": "6090",
        "FEDK_SERVER__LISTN": "x",
        "FEDK_SERVR__NAME": "x",
        "FEDK_DB__USE": "postgres",
    }
    assert screen(env) == [
        "configuration: 3 mistakes",
        '  FEDK_SERVER__LISTEN   server.listen = "6090"   wants HOST:PORT, for example "127.0.0.1:6090" or "[::1]:6090"',
        '  FEDK_SERVER__LISTN    server.listn = "x"       is not a key here. Did you mean server.listen?',
        "  FEDK_SERVR__NAME      [servr]                  is not a section here. Did you mean [server]?",
    ]


def test_lines_of_the_file_come_before_variables() -> None:
    Path("fedk.toml").write_text("[log]\nlevel = 1\nformat = 2\n", "utf-8")
    lines = screen({"FEDK_LOG__LEVEL": "loud"})
    assert lines[0] == "fedk.toml: 2 mistakes"
    assert [line.split()[0] for line in lines[1:]] == ["line", "FEDK_LOG__LEVEL"]


def test_one_underscore_for_two_is_a_mistake_and_other_variables_are_not_ours() -> None:
    env = {"FEDK_SERVER_LISTEN": "127.0.0.1:1"}
    assert screen(env)[1] == (
        "  environment   FEDK_SERVER_LISTEN=127.0.0.1:1   sets nothing. Did you mean FEDK_SERVER__LISTEN?"
    )
    kubernetes = {"FEDK_PORT": "tcp://10.0.0.1:6090", "FEDK_SERVER_SERVICE_HOST": "10.0.0.1", "FEDK_URL": "http://x"}
    load(None, kubernetes).checked()


def test_a_value_says_where_it_comes_from() -> None:
    Path("fedk.toml").write_text('\n[db]\nuse = "sqlite"\n[db.sqlite]\n', "utf-8")
    found = load(None, {"FEDK_LOG__LEVEL": "debug"})
    assert found.source("db", "use") == "fedk.toml line 3: db.use"
    assert found.source("log", "level") == "FEDK_LOG__LEVEL: log.level"
    assert found.source("storage", "use") == "default: storage.use"
    assert found.origin(("db", "sqlite", "path")) == "fedk.toml line 4"
