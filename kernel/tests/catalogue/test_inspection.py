"""What an inspection says of plugins in use: calls, seconds, failures; and of those that vanish."""

import json
import logging
import shutil
import threading
from dataclasses import asdict
from typing import Any

import pytest

from fedk.api.balancer import ClientView, ServerView
from fedk.api.errors import PluginError
from fedk.catalogue import Catalogue, slow
from fedk.catalogue.plugin import conformed

FAILS = """
from fedk.api.balancer import Balancer
from fedk.api.config import Config

class Fair(Balancer[Config]):
    def assign(self, client, servers):
        if not servers:
            raise ValueError("none")
        return servers[0]
"""


def test_a_drivers_calls_are_counted_and_timed(site: Any) -> None:
    site.install("acme-fair", "[fedk.balancers]\nfair = acme_fair:Fair", module="acme_fair", source=FAILS)
    catalogue = Catalogue.scan(path=[str(site.folder)])
    driver = catalogue.create("balancer", "fair")
    server = ServerView("a")
    assert driver.assign(ClientView("c"), [server]) == server
    with pytest.raises(ValueError, match="none"):
        driver.assign(ClientView("c"), [])
    info = catalogue.show("fair")
    assert (info.calls, info.failures) == (2, 1)
    assert info.seconds > 0


def test_one_that_is_uninstalled_while_it_runs_goes_on_and_the_others_are_missing(site: Any) -> None:
    for name in ("fair", "idle"):
        site.install(f"acme-{name}", f"[fedk.balancers]\n{name} = acme_{name}:Fair", module=f"acme_{name}")
    catalogue = Catalogue.scan(path=[str(site.folder)])
    catalogue.create("balancer", "fair")
    for folder in site.folder.glob("*.dist-info"):
        shutil.rmtree(folder)
    assert [(info.name, info.state, info.error) for info in catalogue.entries()] == [
        ("fair", "active", "was uninstalled since the start"),
        ("idle", "missing", "was uninstalled since the start"),
    ]


class Tells(logging.Handler):
    """Releases the import that waits for the notice."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.message = record.getMessage()
        self.told.set()


def test_an_import_that_does_not_end_is_told_of_with_the_way_out(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow, "PATIENCE", 0.0)
    source = (
        "import logging\nfrom fedk.api.hooks import hookimpl\n"
        "next(h.told for h in logging.getLogger('fedk.plugins').handlers if hasattr(h, 'told')).wait()\n"
        "@hookimpl\ndef event(): ...\n"
    )
    site.install("acme-slow", "[fedk.hooks]\nslow = acme_slow", module="acme_slow", source=source)
    logger, handler = logging.getLogger("fedk.plugins"), Tells()
    logger.addHandler(handler)
    Catalogue.scan(path=[str(site.folder)]).load("hook", "slow")
    logger.removeHandler(handler)
    assert handler.message == (
        f'hook "slow" of acme-slow 1.0 is still being imported after 0 s ({site.folder / "acme_slow.py"}). '
        "To do without it: Ctrl-C, then FEDK_PLUGINS__DISABLED='[\"slow\"]'"
    )


def test_what_an_author_recorded_of_the_suite_is_shown_without_an_import(site: Any) -> None:
    package = site.folder / "acme_fair"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')", "utf-8")
    site.install("acme-fair", "[fedk.balancers]\nfair = acme_fair:Fair")
    recorded = {"suite": "1.0", "passed": 24, "failed": 0, "skipped": 1, "version": "0.9", "recorded": "2026-11-24"}
    (package / "conformance.json").write_text(json.dumps(recorded), "utf-8")
    info = Catalogue.scan(path=[str(site.folder)]).show("fair")
    assert info.conformance == recorded
    assert conformed(info) == "1.0: 24 passed (recorded 2026-11-24 for 0.9)"
    written = json.dumps(recorded)
    for text in (
        "{", "[]", '{"suite": "1.0"}', "[" * 100_000, written.replace("24,", "NaN,"), written.replace("1.0", r"\ud800"),
    ):  # fmt: skip
        (package / "conformance.json").write_text(text, "utf-8")
        assert Catalogue.scan(path=[str(site.folder)]).show("fair").conformance is None


SETTINGS = """
from collections.abc import Callable
from fedk.api.balancer import Balancer
from fedk.api.config import Config
from pydantic import field_validator

class Settings(Config):
    key: KEY

class Fair(Balancer[Settings]):
    def assign(self, client, servers): ...
"""


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("float = float('inf')", ""),
        ("str = '\\ud800'", ""),
        ("Callable[[], int] = int", "its settings cannot be shown: PydanticInvalidForJsonSchema: "),
    ],
)
def test_settings_that_json_cannot_say_hide_no_other_plugin(site: Any, key: str, error: str) -> None:
    source = SETTINGS.replace("KEY", key)
    site.install("acme-fair", "[fedk.balancers]\nfair = acme_fair:Fair", module="acme_fair", source=source)
    catalogue = Catalogue.scan(path=[str(site.folder)])
    catalogue.create("balancer", "fair")
    (info,) = catalogue.entries()
    assert (info.state, info.error[: len(error)]) == ("active", error)
    assert bool(info.settings) is not bool(error)
    json.dumps(asdict(info), allow_nan=False, ensure_ascii=False).encode()


def knowing_one_key(site: Any, body: str) -> Catalogue:
    """With a balancer whose check of its settings is this."""
    key = f"""int = 1
    @field_validator("key")
    @classmethod
    def _known(cls, key): {body}"""
    source = SETTINGS.replace("KEY", key)
    site.install("acme-fair", "[fedk.balancers]\nfair = acme_fair:Fair", module="acme_fair", source=source)
    return Catalogue.scan(path=[str(site.folder)])


def test_a_driver_that_could_not_be_used_is_no_failed_one_once_it_can(site: Any) -> None:
    catalogue = knowing_one_key(site, "return {1: 2}[key]")
    with pytest.raises(PluginError, match="KeyError: 3"):
        catalogue.create("balancer", "fair", {"fair": {"key": 3}})
    assert catalogue.show("fair").state == "failed"
    catalogue.create("balancer", "fair", {"fair": {"key": 1}})
    assert (catalogue.show("fair").state, catalogue.show("fair").error) == ("active", "")


def test_a_check_of_settings_that_exits_names_its_plugin(site: Any) -> None:
    (found,) = knowing_one_key(site, "raise SystemExit(7)").check({"balancer": {"use": "fair", "fair": {"key": 3}}})
    assert str(found) == 'balancer.use = "fair" its settings cannot be checked: SystemExit: 7'


def test_a_check_of_settings_that_raises_names_its_plugin(site: Any) -> None:
    catalogue = knowing_one_key(site, "return {1: 2}[key]")
    section = {"use": "fair", "fair": {"key": 3}}
    (found,) = catalogue.check({"balancer": section})
    assert str(found) == 'balancer.use = "fair" its settings cannot be checked: KeyError: 3'
    with pytest.raises(
        PluginError, match=r'balancer "fair" of acme-fair 1.0 cannot be used: its settings cannot be ch'
    ):
        catalogue.create("balancer", "fair", section)
    assert catalogue.show("fair").state == "failed"
