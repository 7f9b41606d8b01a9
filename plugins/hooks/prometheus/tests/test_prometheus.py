import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fedk.api.hooks import Event, ServerFacts
from fedk.testing import HookSuite
from fedk.testing.hook import BODIES
from fedk.testing.readme import key_table
from fedk_plugin_prometheus import Prometheus, PrometheusConfig

FOLDER = Path(__file__).parents[1]
STARTED = ServerFacts("root", "0.1.0", "127.0.0.1:1", "127.0.0.1:2", sessions={"s1": "running", "s2": "paused"})


class TestPrometheus(HookSuite):
    plugin = Prometheus


def scrape(metrics: Prometheus, path: str = "/metrics") -> str:
    """What the application answers."""
    sent: list[Mapping[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        return {"type": "http.request"}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    app = metrics.admin_routes()[path]
    asyncio.run(app({"type": "http", "headers": [], "query_string": b""}, receive, send))  # type: ignore[arg-type]  # a coroutine, as asyncio.run wants
    assert sent[0]["status"] == 200
    return bytes(sent[1]["body"]).decode()


def values(metrics: Prometheus) -> dict[str, float]:
    """By name and labels."""
    found = {}
    for family in text_string_to_metric_families(scrape(metrics)):
        for sample in family.samples:
            labels = ",".join(f"{value}" for _, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def tell(metrics: Prometheus, type_: str, session: str | None = "s1", /, **body: Any) -> None:
    metrics.event(Event(type_, "default", session, body, 0.0))


def test_sessions_are_known_from_the_start_of_the_server_on() -> None:
    metrics = Prometheus()
    metrics.server_started(STARTED)
    found = values(metrics)
    assert (found["fedk_sessions{running}"], found["fedk_sessions{paused}"]) == (1, 1)
    tell(metrics, "session.finished")
    tell(metrics, "session.running", "s2")
    found = values(metrics)
    assert (found["fedk_sessions{running}"], found["fedk_sessions{paused}"]) == (1, 0)
    assert (found["fedk_build_info{standalone,0.1.0}"], found["fedk_leader"]) == (1, 1)
    metrics.server_stopping()
    assert values(metrics)["fedk_leader"] == 0


def test_clients_are_counted_by_state_and_forgotten_when_they_leave() -> None:
    metrics = Prometheus()
    for client in "abc":
        tell(metrics, "client.joined", None, client=client)
    tell(metrics, "client.lost", None, client="a")
    tell(metrics, "client.left", None, client="b")
    found = values(metrics)
    assert (found["fedk_clients{connected}"], found["fedk_clients{lost}"]) == (1, 1)


def test_a_committed_round_is_counted_with_its_seconds_and_bytes() -> None:
    metrics = Prometheus()
    tell(metrics, "round.committed", **BODIES["round.committed"])
    found = values(metrics)
    assert found["fedk_rounds_total{committed}"] == 1
    assert found["fedk_round_seconds_sum{all}"] == 0.25
    assert found["fedk_round_seconds_sum{fold}"] == 0.01
    assert (found["fedk_sent_bytes_total"], found["fedk_received_bytes_total"]) == (1000, 900)


def test_results_are_counted_by_reason_and_what_clients_say_is_no_label() -> None:
    metrics = Prometheus()
    tell(metrics, "update.accepted")
    tell(metrics, "update.refused", reason="non-finite")
    tell(metrics, "task.failed", kind="train", reason="raised")
    for n in range(100):
        tell(metrics, "task.failed", kind="train", reason=f"mine-{n}")
    found = {name: value for name, value in values(metrics).items() if name.startswith("fedk_results_total")}
    assert found == {
        "fedk_results_total{train,accepted,}": 1,
        "fedk_results_total{train,refused,non-finite}": 1,
        "fedk_results_total{train,failed,raised}": 1,
        "fedk_results_total{train,failed,other}": 100,
    }


def test_a_hook_that_fails_and_is_switched_off_is_seen() -> None:
    metrics = Prometheus()
    tell(metrics, "hook.failed", None, plugin="slack", hook="event")
    tell(metrics, "hook.off", None, plugin="slack")
    found = values(metrics)
    assert (found["fedk_hook_failures_total{event,slack}"], found["fedk_hook_off{slack}"]) == (1, 1)


def test_no_label_grows_with_clients_sessions_or_rounds() -> None:
    metrics = Prometheus()
    for n in range(200):
        for type_, body in BODIES.items():
            tell(metrics, type_, f"s{n}", **{**body, "client": f"c{n}", "round": n})
    assert len(values(metrics)) < 150


def test_the_path_is_a_setting() -> None:
    assert "fedk_leader" in scrape(Prometheus(PrometheusConfig(path="/own/metrics")), "/own/metrics")
    with pytest.raises(ValueError, match="path"):
        PrometheusConfig(path="metrics")


def test_the_readme_names_every_metric_and_setting() -> None:
    readme = (FOLDER / "README.md").read_text("utf-8")
    assert key_table(PrometheusConfig) in readme
    exported = {family.name for family in Prometheus().registry.collect() if family.name.startswith("fedk")}
    named = {name.removesuffix("_total") for name in re.findall(r"`(fedk_\w+)", readme)}
    assert exported == named


def test_alerts_speak_of_metrics_that_there_are() -> None:
    rules = (FOLDER / "src" / "fedk_plugin_prometheus" / "alerts.yml").read_text("utf-8")
    exported = {family.name for family in Prometheus().registry.collect()}
    assert {name.removesuffix("_total") for name in re.findall(r"fedk_\w+", rules)} <= exported
