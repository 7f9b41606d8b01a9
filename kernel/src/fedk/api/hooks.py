"""Hooks: functions of a plugin that are notified (observers) or may veto (gates). A driver is chosen, a hook is notified.

A plugin marks its functions with `@hookimpl` and names its module or object in the group `fedk.hooks`. A function may
leave out arguments that it does not need; a specification grows by further arguments only. It may be `async`.

The names of the observers are those of the events in the log and in the REST stream, with "_" for ".".
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pluggy

from fedk.api.aggregator import Update

PROJECT = "fedk"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that is committed: it has happened, whatever a hook does."""

    type: str  # "round.committed"
    project: str
    session: str | None  # its id; None for events of clients
    body: Mapping[str, Any]
    at: float  # seconds since the epoch
    seq: int = 0  # in the event log; 0 for what is not kept: progress and log lines of clients


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A server, as it tells of itself in its first line."""

    name: str
    version: str
    listen: str
    admin: str


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """A session, as a gate may know it."""

    id: str
    name: str
    project: str
    aggregator: str
    rules: Mapping[str, Any]  # with every default filled in
    round: int  # that is open


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """A client, as a gate may know it."""

    name: str
    project: str
    attributes: Mapping[str, str] = field(default_factory=dict)


class Observers:
    """Called one by one, each isolated, off the round's critical path. What they return is not looked at."""

    @hookspec
    def server_started(self, server: ServerFacts) -> None:
        """The server listens."""

    @hookspec
    def server_stopping(self, server: ServerFacts) -> None:
        """The server gives no new task, and will let go of everything."""

    @hookspec
    def event(self, event: Event) -> None:
        """Any event, those below included."""

    @hookspec
    def session_running(self, event: Event) -> None:
        """A session has begun, or goes on after a pause or a failure."""

    @hookspec
    def session_paused(self, event: Event) -> None:
        """A session asks nobody for now; its body says why."""

    @hookspec
    def session_finished(self, event: Event) -> None:
        """A session has committed its last round."""

    @hookspec
    def session_failed(self, event: Event) -> None:
        """A session cannot go on; its body says why."""

    @hookspec
    def session_stopped(self, event: Event) -> None:
        """A person has ended a session."""

    @hookspec
    def round_open(self, event: Event) -> None:
        """A round's tasks are on their way."""

    @hookspec
    def round_retried(self, event: Event) -> None:
        """A round missed its quorum and asks again; accepted updates are kept."""

    @hookspec
    def round_committed(self, event: Event) -> None:
        """A round's new model is the global model."""

    @hookspec
    def update_accepted(self, event: Event) -> None:
        """An update counts in its round."""

    @hookspec
    def update_refused(self, event: Event) -> None:
        """An update does not count; its body has the reason code."""

    @hookspec
    def client_joined(self, event: Event) -> None:
        """A client is connected."""

    @hookspec
    def client_lost(self, event: Event) -> None:
        """A client's connection broke; it stays present for the grace time."""

    @hookspec
    def client_left(self, event: Event) -> None:
        """A client said goodbye."""

    @hookspec
    def model_measured(self, event: Event) -> None:
        """A model's metrics are complete."""


class Gates:
    """Asked before the transaction, first in the configuration first. An exception or a time-out counts as a veto."""

    @hookspec(firstresult=True)
    def client_joining(self, client: ClientFacts) -> str | None:
        """May this client join: None, or why not."""

    @hookspec
    def clients_selected(self, session: SessionFacts, clients: Sequence[ClientFacts]) -> Collection[str] | None:
        """The names of those among `clients` that may be asked in the round that opens; None: all of them."""

    @hookspec
    def client_settings(
        self, session: SessionFacts, client: ClientFacts, settings: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """Settings to add to those that this client gets with its task; None: none."""

    @hookspec(firstresult=True)
    def update_received(self, session: SessionFacts, client: ClientFacts, update: Update) -> str | None:
        """May this update be accepted: None, or why not. Its tensors are not shown."""


SPECIFICATIONS = (Observers, Gates)
