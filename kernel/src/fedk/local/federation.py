"""A whole federation on this machine: an embedded server, N clients of one app, one session."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from fedk.api.errors import Conflict, FedkError
from fedk.app import Server
from fedk.catalogue import Catalogue
from fedk.rounds.feed import Listener, Published
from fedk.rounds.rules import Rules
from fedk.settings import Settings

LOOPBACK = "127.0.0.1:0"

QUIET = 0.5
"""Seconds without an event after which it is told what the session waits for."""


class Launcher(Protocol):
    """How clients are started and ended: processes, or threads of this one."""

    async def start(self, server: str, names: list[str], died: Callable[[str, str], None]) -> None:
        """Start a client for each name, part I of N; `died(name, last lines)` when one ends by itself."""

    async def stop(self) -> None:
        """End all of them, and wait."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run."""

    clients: int
    rules: Rules
    data_dir: Path
    stem: str = "session"
    name: str | None = None
    resume: str | None = None  # a session of data_dir to go on with
    changes: Mapping[str, Any] = field(default_factory=dict)  # of its rules, by dotted key


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    session: str = ""  # id
    name: str = ""
    status: str = ""
    why: str = ""
    rounds: int = 0  # committed
    seconds: list[float] = field(default_factory=list)  # commit to commit
    sent: int = 0  # bytes, by the server
    received: int = 0
    measured: dict[int, Mapping[str, float]] = field(default_factory=dict)  # by model
    model: str = ""  # SHA-256 of the last one

    @property
    def seconds_per_round(self) -> float | None:
        """Median, commit to commit."""
        return round(median(self.seconds), 6) if self.seconds else None

    def document(self) -> dict[str, Any]:
        """For --json."""
        return {
            "status": self.status,
            "why": self.why,
            "session": self.session,
            "name": self.name,
            "rounds": self.rounds,
            "seconds_per_round": self.seconds_per_round,
            "bytes": {"sent": self.sent, "received": self.received},
            "metrics": dict(self.measured.get(self.rounds, {})),
            "model": self.model,
        }


Show = Callable[[str, Mapping[str, Any]], None]
"""Told each thing as it happens: an event's type and body, or "held", "server", "clients", "died", "waiting" of this module."""


class Federation:
    """Runs one plan. Whatever it started is ended when `run` returns or raises."""

    def __init__(self, plan: Plan, launcher: Launcher, show: Show) -> None:
        self._plan, self._launcher, self._show = plan, launcher, show
        self._names = [f"client-{n}" for n in range(1, plan.clients + 1)]
        self._left: set[str] = set()
        self._last_words = ""
        self._outcome = Outcome()
        self._committed_at = 0.0
        self._interrupted = asyncio.Event()

    def interrupt(self) -> None:
        """Pause the session, end everything, and return what there is."""
        self._interrupted.set()

    async def run(self) -> Outcome:
        """Until the session has ended, or `interrupt`. FedkError when it cannot start, or no client is left."""
        server = Server(local_settings(self._plan.data_dir), Catalogue.scan())
        await server.start()
        try:
            with server.desk.feed.listen() as listener:
                await self._run(server, listener)
        finally:
            await self._launcher.stop()
            await server.close()
        return self._outcome

    async def _run(self, server: Server, listener: Listener) -> None:
        s = server.settings
        await self._hold(server)
        self._show(
            "server",
            {"listen": server.listen, "data_dir": str(self._plan.data_dir), "db": s.db.use, "storage": s.storage.use},
        )
        loop = asyncio.get_running_loop()
        began = loop.time()
        gone: asyncio.Future[None] = loop.create_future()
        broken = server.runner.broken or loop.create_future()

        def died(name: str, last: str) -> None:
            self._died(server, name, last)
            if len(self._left) == len(self._names) and not gone.done():
                gone.set_result(None)

        await self._launcher.start(server.listen, self._names, died)
        if not await self._until(self._joined(listener), gone, broken):
            return
        self._show(
            "clients",
            {"joined": len(self._names) - len(self._left), "of": len(self._names), "seconds": loop.time() - began},
        )
        await self._begin(server)
        await self._until(self._follow(server, listener), gone, broken)
        if self._outcome.status == "running":  # interrupted, or deserted
            await server.desk.pause(self._outcome.session)
            self._outcome.status = "paused"
        self._outcome.sent, self._outcome.received = server.network.traffic(self._outcome.session)

    async def _until(self, work: Awaitable[None], gone: asyncio.Future[None], broken: asyncio.Future[None]) -> bool:
        """Wait for `work`, the person, the last client's end, or the server's; whether it was the work."""
        task: asyncio.Future[Any] = asyncio.ensure_future(work)
        person: asyncio.Future[Any] = asyncio.ensure_future(self._interrupted.wait())
        try:
            await asyncio.wait({task, person, gone, broken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            person.cancel()
            if not task.done():
                task.cancel()
        if task.done() and not task.cancelled():
            task.result()
            return True
        if self._interrupted.is_set():
            return False
        if broken.done():
            broken.result()
        self._outcome.why = f"no client is left\n{self._last_words}"
        if not self._outcome.session:
            raise FedkError(self._outcome.why)
        return False

    def _died(self, server: Server, name: str, last: str) -> None:
        self._left.add(name)
        self._last_words = last
        if len(self._left) < len(self._names):  # the words of the last one are the run's own error
            self._show("died", {"client": name, "last": last})
        member = server.desk.roster.named("default", name)
        if member is not None and self._outcome.session:
            server.runner.presence.gone(self._outcome.session, member.id)

    async def _joined(self, listener: Listener) -> None:
        """All clients are there, or have died."""
        missing = set(self._names)
        async for event in listener:
            if event.type == "client.joined":
                missing.discard(event.body["client"])
            if not missing - self._left:
                return

    async def _hold(self, server: Server) -> None:
        """Of the sessions here this run's clients have the app of one: the others are paused, and their tasks lost."""
        resumed = self._found(server, self._plan.resume) if self._plan.resume is not None else None
        for session, live in list(server.runner.lives.items()):
            if live.state.status == "running":  # in a run that was killed
                await server.desk.pause(session)
                if session != resumed:
                    self._show("held", {"name": live.name})
            if session != resumed:
                for client in {task.client for task in live.state.outstanding()}:
                    server.runner.presence.gone(session, client)

    async def _begin(self, server: Server) -> None:
        plan, desk, outcome = self._plan, server.desk, self._outcome
        if plan.resume is None:
            outcome.session = await desk.create("default", name=plan.name, stem=plan.stem, rules=plan.rules, model=None)
        else:
            outcome.session = self._found(server, plan.resume)
            await desk.resume(outcome.session, plan.changes)
        live = server.runner.lives[outcome.session]
        outcome.name, outcome.status, outcome.rounds = live.name, "running", max(0, live.state.head)
        if (head := live.bases.get(live.state.head)) is not None:
            outcome.model = head.stored.sha256.hex()
        self._committed_at = time.perf_counter()
        self._show(
            "session",
            {
                "name": live.name,
                "aggregator": live.record.aggregator,
                "rounds": live.state.rules.rounds,
                "head": live.state.head,
            },
        )

    def _found(self, server: Server, ref: str) -> str:
        for session, live in server.runner.lives.items():
            if ref in (session, live.name):
                return session
        waiting = ", ".join(live.name for live in server.runner.lives.values())
        raise Conflict(
            f'no session "{ref}" in {self._plan.data_dir} can be resumed. Those that can: {waiting or "none"}'
        )

    async def _follow(self, server: Server, listener: Listener) -> None:
        """Show the session's events until it has ended; when there are none for a while, what it waits for."""
        loop, session = asyncio.get_running_loop(), self._outcome.session

        def tell() -> None:
            self._show("waiting", {"for": server.desk.waiting_for(session)})

        quiet = loop.call_later(QUIET, tell)
        try:
            async for event in listener:
                if event.session == session:
                    quiet.cancel()
                    quiet = loop.call_later(QUIET, tell)
                    self._note(event)
                    self._show(event.type, event.body)
                    if event.type in ("session.finished", "session.failed", "session.stopped"):
                        self._outcome.status, self._outcome.why = event.type.removeprefix("session."), event.body["why"]
                        return
        finally:
            quiet.cancel()

    def _note(self, event: Published) -> None:
        outcome = self._outcome
        if event.type == "round.committed":
            now = time.perf_counter()
            if event.body["round"] > 0:
                outcome.seconds.append(now - self._committed_at)
            self._committed_at = now
            outcome.rounds, outcome.model = event.body["round"], event.body["model"]
        elif event.type == "model.measured":
            outcome.measured[event.body["round"]] = event.body["metrics"]


def local_settings(data_dir: Path) -> Settings:
    """The embedded defaults, on free ports of loopback."""
    return Settings.model_validate({"server": {"listen": LOOPBACK, "admin": LOOPBACK, "data_dir": data_dir}})
