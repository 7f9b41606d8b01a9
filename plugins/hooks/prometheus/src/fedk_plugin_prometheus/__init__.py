"""Metrics for Prometheus, at /metrics of the administration. No label grows with clients, sessions or rounds."""

import asyncio
from collections import Counter as Count
from collections.abc import Callable, Mapping, MutableMapping
from time import perf_counter
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, make_asgi_app
from pydantic import Field

from fedk.api.hooks import AsgiApp, Config, Event, HookPlugin, ServerFacts, hookimpl

__all__ = ["Prometheus", "PrometheusConfig"]

ENDED = ("finished", "failed", "stopped")
RAISED = "raised"


class PrometheusConfig(Config):
    """Where, and how finely."""

    path: str = Field("/metrics", pattern=r"^(/[\w.~-]+)+$", description="path of the administration's address")
    buckets: tuple[float, ...] = Field(
        (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3600),
        min_length=1,
        description="upper bounds of the histograms of seconds",
    )


class Prometheus(HookPlugin[PrometheusConfig]):
    """Counts events. What it knows of sessions it has from the start of the server and from what happened since."""

    def __init__(self, config: PrometheusConfig | None = None) -> None:
        super().__init__(config)
        self.registry = r = CollectorRegistry()
        ProcessCollector(registry=r)
        self._build = Gauge("fedk_build_info", "1, for its labels", ["version", "role"], registry=r)
        self._up = Gauge("fedk_leader", "1 while this server gives tasks", registry=r)
        self._sessions = Gauge("fedk_sessions", "Sessions that have not ended for good", ["state"], registry=r)
        self._clients = Gauge("fedk_clients", "Clients, connected or lost and not come back", ["state"], registry=r)
        self._rounds = Counter("fedk_rounds", "Rounds, by what became of them", ["outcome"], registry=r)
        self._phases = Histogram(
            "fedk_round_seconds", "A round, and parts of it", ["phase"], buckets=self.config.buckets, registry=r
        )
        self._results = Counter("fedk_results", "Answers of clients", ["kind", "outcome", "reason"], registry=r)
        self._received = Counter("fedk_received_bytes", "From clients, in committed rounds", registry=r)
        self._sent = Counter("fedk_sent_bytes", "To clients, in committed rounds", registry=r)
        self._vetoed = Counter("fedk_vetoed_clients", "Clients that a gate kept out of a round", ["plugin"], registry=r)
        self._failures = Counter("fedk_hook_failures", "Calls of observers that failed", ["plugin", "hook"], registry=r)
        self._off = Gauge("fedk_hook_off", "1: its observers are switched off", ["plugin"], registry=r)
        self._lag = Gauge("fedk_event_loop_lag_seconds", "One turn of the server's loop, at the scrape", registry=r)
        self._session_states: dict[str, str] = {}
        self._client_states: dict[tuple[str, str], str] = {}
        self._says: Mapping[str, Callable[[Event], None]] = {
            "round.committed": self._committed,
            "round.retried": lambda _: self._rounds.labels("retried").inc(),
            "update.accepted": lambda _: self._results.labels("train", "accepted", "").inc(),
            "update.refused": lambda e: self._results.labels("train", "refused", e.body.get("reason", "")).inc(),
            "task.recorded": lambda _: self._results.labels("validate", "recorded", "").inc(),
            "task.failed": self._task_failed,
            "task.lost": lambda _: self._results.labels("", "lost", "").inc(),
            "clients.vetoed": self._clients_vetoed,
            "hook.failed": lambda e: self._failures.labels(e.body["plugin"], e.body["hook"]).inc(),
            "hook.off": lambda e: self._off.labels(e.body["plugin"]).set(1),
        }

    # ---- what it is told ----

    @hookimpl
    def server_started(self, server: ServerFacts) -> None:
        self._build.labels(server.version, server.role).set(1)
        self._up.set(1)
        self._session_states = {**server.sessions, **self._session_states}
        self._show_sessions()

    @hookimpl
    def server_stopping(self) -> None:
        self._up.set(0)

    @hookimpl
    def event(self, event: Event) -> None:
        noun, _, what = event.type.partition(".")
        if noun == "session" and event.session is not None:
            self._session(event.session, what)
        elif noun == "client" and what in ("joined", "lost", "left"):
            self._client((event.project, event.body.get("client", "")), what)
        elif event.type in self._says:
            self._says[event.type](event)

    @hookimpl
    def admin_routes(self) -> Mapping[str, AsgiApp]:
        metrics = make_asgi_app(self.registry)

        async def scraped(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
            started = perf_counter()
            await asyncio.sleep(0)  # not a wait: one turn of the loop, which is what is measured
            self._lag.set(perf_counter() - started)
            await metrics(scope, receive, send)

        return {self.config.path: scraped}

    # ---- what becomes of it ----

    def _session(self, session: str, state: str) -> None:
        if state == "failed":
            self._rounds.labels("failed").inc()
        if state in ENDED:
            self._session_states.pop(session, None)
        else:
            self._session_states[session] = state
        self._show_sessions()

    def _show_sessions(self) -> None:
        _show(self._sessions, self._session_states.values(), ("running", "paused"))

    def _client(self, client: tuple[str, str], what: str) -> None:
        if what == "left":
            self._client_states.pop(client, None)
        else:
            self._client_states[client] = "connected" if what == "joined" else what
        _show(self._clients, self._client_states.values(), ("connected", "lost"))

    def _committed(self, event: Event) -> None:
        body = event.body
        self._rounds.labels("committed").inc()
        for phase, key in {"all": "seconds", "fold": "fold", "store": "store", "commit": "commit"}.items():
            if key in body:
                self._phases.labels(phase).observe(body[key])
        self._received.inc(max(0, body.get("received", 0)))
        self._sent.inc(max(0, body.get("sent", 0)))

    def _task_failed(self, event: Event) -> None:
        """A client says why: its words must not become labels."""
        reason = event.body.get("reason", "")
        self._results.labels(event.body.get("kind", ""), "failed", reason if reason == RAISED else "other").inc()

    def _clients_vetoed(self, event: Event) -> None:
        for plugin in event.body.get("plugins", ()):
            self._vetoed.labels(plugin).inc(len(event.body.get("clients", ())))


def _show(gauge: Gauge, states: Any, always: tuple[str, ...]) -> None:
    """The states' numbers; those of `always` also where they are 0, so that a graph has no holes."""
    counts = Count(states)
    gauge.clear()
    for state in {*always, *counts}:
        gauge.labels(state).set(counts[state])
