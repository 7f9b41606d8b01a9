"""Everything that can be wrong with a plugin has its text, its exit code and its state, and leaves the rest working."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from tests.conftest import Background, Fedk, Served
from tests.plugins.conftest import BALANCER, HOOK, Site

ASK = "Ask the authors of acme-{}, or choose another; --debug shows the traceback."
FREE = {"FEDK_SERVER__LISTEN": "127.0.0.1:0", "FEDK_SERVER__ADMIN": "127.0.0.1:0"}

Put = Callable[[Site], None]

HOOKS: dict[str, tuple[Put, str, str, str]] = {
    "raises": (
        lambda s: s.put("raises", "raise ValueError('no such key')"),
        "failed", "cannot be loaded: ValueError: no such key", ASK.format("raises"),
    ),
    "exits": (
        lambda s: s.put("exits", "raise SystemExit(3)"),
        "failed", "cannot be loaded: SystemExit: 3", ASK.format("exits"),
    ),
    "asserts": (
        lambda s: s.put("asserts", "assert False, 'never'"),
        "failed", "cannot be loaded: AssertionError: never", ASK.format("asserts"),
    ),
    "lacks": (
        lambda s: s.put("lacks", "import slack_sdk"),
        "failed", "cannot be loaded: ModuleNotFoundError: No module named 'slack_sdk'",
        "Its package lacks something:  pip check  says what; or choose another.",
    ),
    "half": (
        lambda s: s.put("half", "class Plugin: pass"),
        "failed",
        "cannot be loaded: implements no hook: mark its functions with @hookimpl, as server_started, server_stopping, event …",
        ASK.format("half"),
    ),
    "typo": (
        lambda s: s.put("typo", HOOK + "  @hookimpl\n  def round_comitted(self): ..."),
        "failed",
        "cannot be loaded: implements the hook round_comitted, which no specification knows. Did you mean round_committed?",
        ASK.format("typo"),
    ),
    "newer": (
        lambda s: s.put("newer", "raise RuntimeError('imported')", requires=["fedk>=9"]),
        "incompatible", "wants fedk>=9, this is 0.1.0", "pip install -U acme-newer  may bring a version that fits.",
    ),
    "twice": (
        lambda s: s.twice("twice", "raise RuntimeError('imported')"),
        "available", "is also in zeta-twice 1.0", 'use = "acme-twice:twice"  selects this one.',
    ),
    "malformed": (
        lambda s: s.put("malformed", "raise RuntimeError('imported')", entry="malformed = acme malformed"),
        "failed",
        'cannot be loaded: its entry point "malformed = acme malformed" is malformed: wants NAME = MODULE:CLASS',
        "Ask the authors of acme-malformed 1.0, or choose another.",
    ),
    "vanished": (
        lambda s: s.put("vanished", None),
        "missing", "cannot be loaded: ModuleNotFoundError: No module named 'acme_vanished'",
        "Its files are gone:  pip install --force-reinstall acme-vanished",
    ),
    "starts": (
        lambda s: s.put("starts", HOOK + "  def __init__(self): raise OSError('down')\n  @hookimpl\n  def event(self): ..."),
        "failed", "cannot start: OSError: down", ASK.format("starts"),
    ),
}  # fmt: skip

DRIVERS = {
    "raises": (HOOKS["raises"][0], "failed", HOOKS["raises"][2]),
    "exits": (HOOKS["exits"][0], "failed", HOOKS["exits"][2]),
    "asserts": (HOOKS["asserts"][0], "failed", HOOKS["asserts"][2]),
    "lacks": (HOOKS["lacks"][0], "failed", HOOKS["lacks"][2]),
    "half": (
        lambda s: s.put("half", BALANCER + "  pass"),
        "failed", "cannot be loaded: acme_half:Plugin implements half of Balancer: it lacks assign()",
    ),
    "other": (
        lambda s: s.put("other", "class Plugin: pass"),
        "failed", "cannot be loaded: acme_other:Plugin is no Balancer (fedk.api.balancer.Balancer)",
    ),
    "newer": (HOOKS["newer"][0], "incompatible", HOOKS["newer"][2]),
    "twice": (HOOKS["twice"][0], "failed", "is claimed by acme-twice 1.0 and zeta-twice 1.0"),
    "malformed": (HOOKS["malformed"][0], "failed", HOOKS["malformed"][2]),
    "vanished": (HOOKS["vanished"][0], "missing", HOOKS["vanished"][2]),
    "absent": (lambda _: None, "missing", "is not installed"),
}  # fmt: skip


def plugins(server: Served) -> dict[str, Any]:
    """What a running server says, by name; of two with a name the first."""
    found = httpx2.get(f"{server.admin}/api/v1/plugins").json()["plugins"]
    return {info["name"]: info for info in reversed(found)}


def test_a_server_with_eleven_broken_hook_plugins_starts_serves_and_shows_all(
    site: Site, serve: Callable[..., Served], fedk: Fedk
) -> None:
    for put, *_ in HOOKS.values():
        put(site)
    server = serve(**site.enabled("eventlog", "absent"))
    found = plugins(server)
    for name, (_, state, error, hint) in HOOKS.items():
        assert (found[name]["state"], found[name]["error"], found[name]["hint"]) == (state, error, hint)
    assert found["absent"]["state"] == "missing"
    assert found["eventlog"]["state"] == "active"
    assert "imported" not in server.log.read_text()
    text = httpx2.get(f"{server.admin}/plugins").text
    assert all(f'/plugins/hook/{name}"' in text for name in HOOKS)
    told = server.log.read_text()
    assert all(f"plugin={name} " in told for name in [*HOOKS, "absent"])
    assert "Traceback" not in told
    assert fedk("session", "list", "--json", env={"FEDK_URL": server.admin}).code == 0
    assert server.end() == 0


def test_with_strict_broken_hook_plugins_stop_the_start_and_all_are_named(site: Site, fedk: Fedk) -> None:
    for put, *_ in HOOKS.values():
        put(site)
    ended = fedk("server", code=78, env=FREE | site.enabled() | {"FEDK_PLUGINS__STRICT": "true"})
    told = {name: error for name, (_, _, error, _) in HOOKS.items() if name != "starts"}
    told["twice"] = "is claimed by acme-twice 1.0 and zeta-twice 1.0"
    assert not [name for name, error in told.items() if f'names "{name}", which {error}' not in ended.err]
    assert ended.err.count("plugins.strict = false  starts without.") == len(told)
    assert "Traceback" not in ended.err
    site.names = ["starts"]
    ended = fedk("server", code=78, env=FREE | site.enabled() | {"FEDK_PLUGINS__STRICT": "true"})
    assert 'hook "starts" of acme-starts 1.0 cannot start: OSError: down (plugins.hooks)' in ended.err


@pytest.mark.parametrize("name", DRIVERS)
def test_a_selected_driver_that_cannot_load_stops_the_start_with_one_screen(name: str, site: Site, fedk: Fedk) -> None:
    put, state, error = DRIVERS[name]
    site.group = "fedk.balancers"
    put(site)
    env = FREE | site.env | {"FEDK_BALANCER__USE": name}
    ended = fedk("server", code=78, env=env)
    assert f'balancer.use = "{name}"' in ended.err
    assert error in ended.err
    assert "Traceback" not in ended.err
    assert len(ended.err.splitlines()) <= 4
    asked = f"acme-{name}:{name}" if site.names else name
    (shown,) = fedk("plugins", "check", asked, "--json", code=1, env=env).json
    assert (shown["kind"], shown["state"]) == ("balancer", state)


def test_debug_shows_where_a_driver_broke(site: Site, fedk: Fedk) -> None:
    site.group = "fedk.balancers"
    HOOKS["raises"][0](site)
    ended = fedk("server", "--debug", code=78, env=FREE | site.env | {"FEDK_BALANCER__USE": "raises"})
    assert "acme_raises.py" in ended.err


def test_settings_of_a_plugin_that_is_not_installed_show_it_as_missing_and_of_a_driver_stop_the_start(
    serve: Callable[..., Served], fedk: Fedk
) -> None:
    server = serve(FEDK_HOOKS__SLACK__CHANNEL="x")
    found = plugins(server)["slack"]
    assert (found["kind"], found["state"], found["error"]) == ("hook", "missing", "is not installed")
    assert server.end() == 0
    ended = fedk("server", code=78, env=FREE | {"FEDK_DB__POSTGRES__URL": "x"})
    assert "[db.postgres] " in ended.err
    assert "is for a driver that is not installed" in ended.err


def test_a_plugin_that_is_removed_while_the_server_runs_goes_on_and_is_told(
    site: Site, serve: Callable[..., Served]
) -> None:
    for name in ("used", "idle"):
        site.put(name, HOOK + "  @hookimpl\n  def event(self): ...")
    server = serve(**site.env, FEDK_PLUGINS__HOOKS='["used"]')
    assert [plugins(server)[name]["state"] for name in ("used", "idle")] == ["active", "available"]
    shutil.rmtree(site.folder)
    found = plugins(server)
    assert [found[name]["state"] for name in ("used", "idle")] == ["active", "missing"]
    assert found["used"]["error"] == found["idle"]["error"] == "was uninstalled since the start"
    assert server.end() == 0


def test_a_plugin_that_hangs_at_import_is_named_with_the_way_out_and_waited_for(
    site: Site, start: Callable[..., Background], fedk: Fedk
) -> None:
    site.put("hangs", "import threading\nthreading.Event().wait()")
    site.put("well", HOOK + "  @hookimpl\n  def event(self): ...")
    (checked,) = fedk("plugins", "check", "hangs", "--json", code=1, env=site.env).json
    assert (checked["state"], checked["error"]) == ("failed", "timeout: its import has not ended after 5 s")
    assert fedk("plugins", "check", "well", env=site.env).code == 0
    server = start("sh", "-c", "exec fedk server 2>&1", env=FREE | site.enabled())
    assert server.line().endswith(
        f'hook "hangs" of acme-hangs 1.0 is still being imported after 5 s ({site.folder / "acme_hangs.py"}). '
        "To do without it: Ctrl-C, then FEDK_PLUGINS__DISABLED='[\"hangs\"]'\n"
    )
    assert server.process.poll() is None


def test_a_plugin_of_a_request_that_hangs_at_import_does_not_keep_the_server_from_its_end(
    site: Site, serve: Callable[..., Served]
) -> None:
    site.group = "fedk.aggregators"
    site.put("hangs", "import threading\nprint('hangs', flush=True)\nthreading.Event().wait()")
    server = serve(**site.env)
    asked = {"aggregator": {"use": "hangs"}}
    with httpx2.Client(base_url=server.admin, trust_env=False) as client, ThreadPoolExecutor() as threads:
        asking = threads.submit(client.post, "/api/v1/sessions", json=asked)
        assert server.line() == "hangs\n"
        assert server.end() == 0
        assert asking.exception() is not None or asking.result().is_server_error


def test_a_lock_that_does_not_fit_stops_the_start_before_anything_is_imported(site: Site, fedk: Fedk) -> None:
    fedk("plugins", "freeze")
    site.put("new", "raise RuntimeError('imported')")
    ended = fedk("server", code=78, env=FREE | site.enabled() | {"FEDK_PLUGINS__LOCK": "fedk.lock"})
    assert ended.err.splitlines()[:2] == [
        "fedk.lock (plugins.lock): 1 of the installed plugins differ",
        "  acme-new 1.0 is installed and not locked:  pip uninstall acme-new",
    ]
