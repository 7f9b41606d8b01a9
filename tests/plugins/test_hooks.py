"""Hook plugins in a real server: every extension point, and what a bad observer or a veto does to others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx2
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest  # type: ignore[import-untyped]  # published without types
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub  # type: ignore[import-untyped]  # as above
from tests.conftest import Background, Fedk, Served
from tests.plugins.conftest import HOOK, Site
from tests.plugins.test_external import CLIENT

SESSION = "rounds = 3\n[clients]\nmin = 2\n[validation]\nevery = 0\n"
GUARD = """
from fedk.api.hooks import hookimpl

class Plugin:
    @hookimpl
    def client_joining(self, client):
        return None if client.name != "mallory" else "not today"
"""


def trained(fedk: Fedk, start: Callable[..., Background], server: Served, tmp_path: Path) -> Any:
    """One session of two clients; its document when it has ended."""
    (tmp_path / "client.py").write_text(CLIENT, "utf-8")
    (tmp_path / "session.toml").write_text("model = 'client.py:app'\n" + SESSION, "utf-8")
    for name in "ab":
        start("fedk-client", "run", "client.py:app", "--server", server.listen, "--name", name, log=f"{name}.log")
    env = {"FEDK_URL": server.admin}
    fedk("session", "start", "session.toml", env=env)
    fedk("session", "watch", "--json", env=env)
    return fedk("session", "show", "--json", env=env).json


def services(address: str) -> list[str]:
    """As a tool asks."""
    with grpc.insecure_channel(address) as channel:
        answers = ServerReflectionStub(channel).ServerReflectionInfo(iter([ServerReflectionRequest(list_services="")]))
        return [service.name for service in next(answers).list_services_response.service]


def test_the_repositorys_three_use_every_extension_point_while_a_session_trains(
    fedk: Fedk, start: Callable[..., Background], serve: Callable[..., Served], tmp_path: Path
) -> None:
    hooks = {"FEDK_PLUGINS__HOOKS": '["eventlog", "prometheus", "reflection"]'}
    server = serve(**hooks)
    assert trained(fedk, start, server, tmp_path)["status"] == "finished"
    assert services(server.listen) == [
        "fedk.v1.Federation",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    ]
    metrics = httpx2.get(f"{server.admin}/metrics").text
    assert 'fedk_rounds_total{outcome="committed"} 3.0' in metrics
    shown = fedk("plugins", "show", "prometheus", "--url", server.admin, "--json").json
    assert shown["state"] == "active"
    assert shown["calls"] > 3
    fedavg = fedk("plugins", "show", "fedavg", "--url", server.admin, "--json").json
    assert (fedavg["state"], fedavg["calls"], fedavg["failures"]) == ("active", 3, 0)
    assert server.end() == 0
    lines = (tmp_path / "fedk-data" / "events.jsonl").read_text("utf-8").splitlines()
    types = [json.loads(line)["type"] for line in lines]
    assert types.count("round.committed") == 3
    assert "session.finished" in types
    assert fedk("eventlog", "--only", "round.committed", env=hooks).out.count("round.committed") == 3
    assert "Commands of plugins" in fedk("--help", env=hooks).out


def test_observers_that_fail_or_never_return_hold_up_no_round_and_no_end(
    site: Site, fedk: Fedk, start: Callable[..., Background], serve: Callable[..., Served], tmp_path: Path
) -> None:
    site.put("fails", HOOK + "  @hookimpl\n  async def event(self, event): raise OSError('disk full')\n")
    site.put("hangs", f"import threading\n{HOOK}  @hookimpl\n  def event(self, event): threading.Event().wait()\n")
    server = serve(**site.enabled(), FEDK_PLUGINS__BUDGET="1")
    assert trained(fedk, start, server, tmp_path)["status"] == "finished"
    found = fedk("plugins", "show", "fails", "--url", server.admin, "--json").json
    assert found["state"] == "failed"
    assert found["error"] == ("its event failed 1 times in a row, its observers are switched off: OSError: disk full")
    assert "in event" in found["traceback"]
    assert server.end() == 0


def test_a_client_that_a_gate_does_not_let_in_is_told_and_comes_back(
    site: Site, start: Callable[..., Background], serve: Callable[..., Served], fedk: Fedk, tmp_path: Path
) -> None:
    site.put("guard", GUARD)
    server = serve(**site.enabled())
    (tmp_path / "client.py").write_text(CLIENT, "utf-8")
    command = "exec fedk-client run client.py:app --server {} --name {} 2>&1"
    mallory = start("sh", "-c", command.format(server.listen, "mallory"))
    told = mallory.line()
    assert 'hook "guard" does not allow it: not today' in told
    assert "next try in" in told
    assert 'gate.vetoed      plugin=guard hook=client_joining client=mallory why="not today"' in server.log.read_text()
    ana = start("sh", "-c", command.format(server.listen, "ana"), log="ana.log")
    assert "joined" in ana.line()
    names = [client["name"] for client in fedk("client", "list", "--json", env={"FEDK_URL": server.admin}).json]
    assert names == ["ana"]
