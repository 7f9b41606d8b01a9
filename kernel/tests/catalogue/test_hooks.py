"""Hook plugins: loaded apart from each other, checked against their specifications."""

from typing import Any

import pytest

from fedk.api.errors import PluginError
from fedk.catalogue import Catalogue
from fedk.catalogue.hooks import enable

HEAD = """
from fedk.api.hooks import HookPlugin, Config, hookimpl
from pydantic import Field

class Settings(Config):
    path: str = Field("x", description="where to")
    size: int = Field(1, ge=1, description="how much")

"""
GOOD = (
    HEAD
    + """
class Log(HookPlugin[Settings]):
    @hookimpl
    def round_committed(self, event):
        return event
    @hookimpl
    async def event(self):
        return self.config.path
"""
)
BROKEN = {
    "raises": ("raise ValueError('no such key')", "cannot be loaded: ValueError: no such key"),
    "exits": ("raise SystemExit(3)", "cannot be loaded: SystemExit: 3"),
    "panics": ("class Panic(BaseException): ...\nraise Panic('no')", "cannot be loaded: Panic: no"),
    "asserts": ("assert False, 'never'", "cannot be loaded: AssertionError: never"),
    "lacks": ("import slack_sdk", "cannot be loaded: ModuleNotFoundError: No module named 'slack_sdk'"),
    "syntax": ("class Log(", "cannot be loaded: SyntaxError: "),
    "nothing": ("class Log: pass", "cannot be loaded: implements no hook: mark its functions with @hookimpl"),
    "typo": (
        HEAD + "class Log:\n  @hookimpl\n  def round_comitted(self, event): ...",
        "implements the hook round_comitted, which no specification knows. Did you mean round_committed?",
    ),
    "argument": (
        HEAD + "class Log:\n  @hookimpl\n  async def round_committed(self, evnt): ...",
        "Argument(s) {'evnt'} are declared in the hookimpl but can not be found in the hookspec",
    ),
    "wraps": (
        HEAD + "class Log:\n  @hookimpl(wrapper=True)\n  def event(self):\n    yield",
        "wraps the hook event: a hook is notified",
    ),
    "first": (HEAD + "class Log:\n  @hookimpl(tryfirst=True)\n  def event(self): ...", "the order is that of plugins"),
    "yields": (HEAD + "class Log:\n  @hookimpl\n  async def event(self):\n    yield", "its event is a generator"),
    "asyncroutes": (HEAD + "class Log:\n  @hookimpl\n  async def admin_routes(self): ...", "its admin_routes is async"),
    "keyword": (HEAD + "class Log:\n  @hookimpl\n  def event(self, *, event): ...", "keyword-only arguments (event)"),
    "starts": (
        HEAD + "class Log:\n  def __init__(self): raise OSError('down')\n  @hookimpl\n  def event(self): ...",
        "cannot start: OSError: down",
    ),
}


def written(site: Any, name: str, source: str) -> None:
    site.install(f"acme-{name}", f"[fedk.hooks]\n{name} = acme_{name}:Log", module=f"acme_{name}", source=source)


def enabled(site: Any, *names: str, tables: Any = None, strict: bool = False) -> tuple[Catalogue, list[str]]:
    catalogue = Catalogue.scan(path=[str(site.folder)])
    return catalogue, [plugin.use for plugin in enable(catalogue, names, tables or {}, strict=strict)]


def test_a_hook_plugin_gets_the_keys_of_its_own_table_and_says_what_it_implements(site: Any) -> None:
    written(site, "log", GOOD)
    catalogue, names = enabled(site, "log", tables={"log": {"path": "y"}, "other": {"path": "z"}})
    info = catalogue.show("log")
    assert (names, info.kind, info.state, info.settings["path"]) == (["log"], "hook", "active", "y")
    assert info.hooks == ("event", "round_committed")


def test_a_module_may_be_a_hook_plugin(site: Any) -> None:
    source = HEAD + "@hookimpl\ndef event(event): ...\n"
    site.install("acme-mod", "[fedk.hooks]\nmod = acme_mod", module="acme_mod", source=source)
    assert enabled(site, "mod")[1] == ["mod"]


def test_the_order_is_the_configurations(site: Any) -> None:
    for name in ("a", "b", "c"):
        written(site, name, GOOD)
    assert enabled(site, "c", "a", "b", "a")[1] == ["c", "a", "b"]


@pytest.mark.parametrize("name", BROKEN)
def test_one_that_cannot_be_used_is_recorded_with_its_cause_and_the_others_go_on(site: Any, name: str) -> None:
    source, text = BROKEN[name]
    written(site, name, source)
    written(site, "good", GOOD)
    catalogue, names = enabled(site, name, "good")
    info = catalogue.show(name)
    assert names == ["good"]
    assert (info.kind, info.state, info.distribution) == ("hook", "failed", f"acme-{name}")
    assert text in info.error
    assert info.hint
    assert info.traceback


def test_one_that_is_not_installed_is_missing_and_the_others_go_on(site: Any) -> None:
    written(site, "log", GOOD)
    catalogue, names = enabled(site, "lgo", "log")
    assert names == ["log"]
    info = catalogue.show("lgo")
    assert (info.kind, info.state) == ("hook", "missing")
    assert 'Did you mean "log"?' in info.hint


def test_one_that_is_disabled_or_incompatible_is_not_imported(site: Any) -> None:
    written(site, "off", "raise RuntimeError")
    old = "[fedk.hooks]\nold = acme_old:Log"
    site.install("acme-old", old, requires=("fedk<0.1",), module="acme_old", source="raise RuntimeError")
    catalogue = Catalogue.scan(path=[str(site.folder)], disabled=["off"])
    assert enable(catalogue, ["off", "old"], {}) == []
    assert [(i.name, i.state) for i in catalogue.entries()] == [("off", "disabled"), ("old", "incompatible")]


def test_strict_stops_the_start_and_names_all(site: Any) -> None:
    written(site, "raises", "raise ValueError('x')")
    with pytest.raises(PluginError) as error:
        enabled(site, "raises", "gone", strict=True)
    raises, gone, way_out = str(error.value).splitlines()
    assert raises.startswith('hook "raises" of acme-raises 1.0 cannot be loaded: ValueError: x (plugins.hooks). Ask ')
    assert gone.startswith('hook "gone" is not installed (plugins.hooks). Installed: raises.')
    assert way_out == "plugins.strict = false  starts without."


def test_an_optional_hook_of_a_later_fedk_is_no_mistake(site: Any) -> None:
    written(site, "new", GOOD + "    @hookimpl(optionalhook=True)\n    def moon_rose(self, event): ...\n")
    catalogue, names = enabled(site, "new")
    assert (names, catalogue.show("new").hooks) == (["new"], ("event", "round_committed"))


def test_every_wrong_key_of_an_enabled_or_idle_plugin_is_a_mistake(site: Any) -> None:
    for name in ("a", "b"):
        written(site, name, GOOD)
    catalogue = Catalogue.scan(path=[str(site.folder)])
    tables = {"a": {"pth": 1}, "b": {"size": 0}}
    assert [str(m) for m in catalogue.check_hooks(["a"], tables)] == [
        "hooks.a.pth = 1 is not a key here. Did you mean hooks.a.path?"
    ]
    assert [str(m) for m in catalogue.check_hooks(["a"], tables, idle=True)][1] == "hooks.b.size = 0 must be ≥ 1"


def test_settings_of_a_plugin_that_is_not_installed_show_it_as_missing(site: Any) -> None:
    catalogue = Catalogue.scan(path=[str(site.folder)])
    assert catalogue.check_hooks([], {"slack": {"token": "x"}}) == []
    assert [(i.kind, i.name, i.state) for i in catalogue.entries()] == [("hook", "slack", "missing")]
