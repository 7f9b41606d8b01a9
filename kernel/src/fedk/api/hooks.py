"""Hooks: functions that are notified (observers), may veto (gates) or add to the server (extensions).

A driver is chosen, a hook is notified. A plugin marks its functions with `@hookimpl` and names its class, module or
object in the group `fedk.hooks`; a class that derives from `HookPlugin` has settings. A function may leave out arguments
that it does not need; a specification grows by further arguments only. Observers and gates may be `async`.

Observers of a plugin are called one at a time, in a thread and a loop that are theirs; so are its gates. What blocks or
never returns there holds up no round. The names of the observers are those of the events in the log and in the REST
stream, with "_" for ".".
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from fedk.api.aggregator import Update
from fedk.api.config import Config
from fedk.api.driver import C, Configured

if TYPE_CHECKING:  # a plugin that brings neither commands nor services does without them
    import click
    import grpc.aio

__all__ = [
    "PROJECT",
    "SPECIFICATIONS",
    "AsgiApp",
    "ClientFacts",
    "Config",
    "Event",
    "Extensions",
    "Gates",
    "HookPlugin",
    "Observers",
    "ServerFacts",
    "SessionFacts",
    "Update",
    "hookimpl",
]

PROJECT = "fedk"

AsgiApp = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]
]
"""An ASGI application: what Starlette, FastAPI and prometheus_client make."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class HookPlugin(Configured[C]):
    """A hook plugin with settings, those of `[hooks.NAME]`: `class EventLog(HookPlugin[EventLogConfig])`."""


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
    data_dir: Path = Path()  # everything of the server that must survive; a relative path of a plugin starts here
    role: str = "standalone"
    sessions: Mapping[str, str] = field(default_factory=dict)  # id → state, of those that had not ended at the start


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


class Extensions:
    """Asked once, when the server or the command line starts. Not `async`."""

    @hookspec
    def cli_commands(self) -> "Sequence[click.Command] | None":
        """Commands that `fedk` has beside its own, where the configuration enables the plugin."""

    @hookspec
    def admin_routes(self) -> Mapping[str, AsgiApp] | None:
        """Applications below the administration's address, by path ("/metrics"), answered in the server's loop."""

    @hookspec
    def grpc_services(self, server: "grpc.aio.Server", services: Sequence[str]) -> None:
        """Add services to the server that clients dial, with a generated `add_…_to_server`; `services` are there."""


SPECIFICATIONS = (Observers, Gates, Extensions)
