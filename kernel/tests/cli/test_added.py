"""Commands of hook plugins: there where the configuration enables them, and in nobody's way."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedk.cli.added import added

SOURCE = """
import click
from fedk.api.hooks import HookPlugin, Config, hookimpl
from pydantic import Field

class Settings(Config):
    word: str = Field("hello", description="what to say")

class Says(HookPlugin[Settings]):
    @hookimpl
    def cli_commands(self):
        @click.command(help="Says it.")
        @click.argument("name")
        def say(name):
            click.echo(f"{self.config.word} {name}")
        return [say]
"""


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    added.cache_clear()
    yield
    added.cache_clear()
    sys.modules.pop("acme_says", None)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on sys.path with one plugin, `says`."""
    folder = tmp_path / "site"
    info = folder / "acme_says-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: acme-says\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text("[fedk.hooks]\nsays = acme_says:Says\n", "utf-8")
    (folder / "acme_says.py").write_text(SOURCE, "utf-8")
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.mark.usefixtures("site")
def test_a_plugin_that_is_enabled_adds_its_command_with_its_settings(fedk: Any) -> None:
    Path("fedk.toml").write_text('[plugins]\nhooks = ["says"]\n[hooks.says]\nword = "good day"\n', "utf-8")
    outcome = fedk("say", "ana")
    assert (outcome.code, outcome.out, outcome.err) == (0, "good day ana\n", "")


@pytest.mark.usefixtures("site")
def test_the_help_lists_it_apart(fedk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDK_PLUGINS__HOOKS", '["says"]')
    out = fedk("--help").out
    assert "Commands of plugins:\n  say  Says it." in out


@pytest.mark.usefixtures("site")
def test_a_plugin_that_is_installed_and_not_enabled_adds_nothing_and_is_not_imported(fedk: Any) -> None:
    Path("fedk.toml").write_text("[plugins]\nhooks = []\n", "utf-8")
    assert fedk("say", "ana").code == 2
    assert "acme_says" not in sys.modules


def test_a_plugin_that_cannot_be_loaded_is_told_and_hides_nothing(site: Path, fedk: Any) -> None:
    (site / "acme_says.py").write_text("raise ValueError('x')", "utf-8")
    Path("fedk.toml").write_text('[plugins]\nhooks = ["says"]\n', "utf-8")
    outcome = fedk("--help")
    assert outcome.code == 0
    assert "server" in outcome.out
    assert outcome.err.startswith('warning: hook "says" cannot be loaded: ValueError: x. Ask the authors of acme-says')


def test_a_configuration_with_mistakes_hides_no_command(fedk: Any) -> None:
    Path("fedk.toml").write_text("hooks = [", "utf-8")
    outcome = fedk("--help")
    assert (outcome.code, "server" in outcome.out) == (0, True)
    assert outcome.err.startswith("warning: no commands of plugins: fedk.toml: 1 mistake")
