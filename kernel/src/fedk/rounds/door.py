"""The door: what the network brings to sessions."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any, Literal

from fedk.aggregation.expected import Expected
from fedk.aggregation.record import record
from fedk.api.codec import BlockCodec
from fedk.api.errors import FormulaError, NotFound, Refused, StateError
from fedk.api.hooks import ClientFacts
from fedk.blobs.reader import Span
from fedk.rounds import events as ev
from fedk.rounds.acceptance import weighed
from fedk.rounds.answers import answer, of_task
from fedk.rounds.clients import Arrival, Joined, Joining, Kept, Reply, SendFrom, Verdict
from fedk.rounds.feed import Published
from fedk.rounds.inbox import COMPANY, COMPANY_ASYNC, LINGER, Entry, Seen, Waiter
from fedk.rounds.live import Live, Taken
from fedk.rounds.roster import Member
from fedk.rounds.runner import Runner
from fedk.rounds.states import ENDED, ROOT, Task, session_of
from fedk.rounds.views import client_facts, session_facts, update_view

DETAIL = 2_000
"""Characters of a client's or formula's text that are kept."""

FORMULA_ERRORS = 3
"""Results in a row on which the formula fails before the session does."""

log = logging.getLogger("fedk.rounds")


@record(frozen=True, slots=True)
class OpenTask:
    """What a result's intake needs to know of its task."""

    session: str
    project: str
    round: int
    kind: str
    expected: Expected | None  # None: it carries no blobs
    codec: BlockCodec | None = None  # that its model may be in
    base: bytes = b""  # hash of the model that the task brings


class Door:
    """What clients do, told to the sessions that it concerns."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def join(self, joining: Joining, holder: str = "") -> Joined:
        """Take in a client of this server, or of a combiner. Refused when a gate vetoes it, its project is unknown or its name is fought over."""
        await self._runner.gates.admit(ClientFacts(joining.name, joining.project, dict(joining.attributes)))
        member = self._runner.roster.join(joining, holder)
        done = asyncio.get_running_loop().create_future()
        self._runner.inbox.put(Seen(member, "client.joined", done))
        try:
            await done
        except StateError:
            if (member.instance, member.holder) == (joining.instance, holder):  # else it has come again meanwhile
                self._away(member, "lost")  # it is not in the rows: it says hello again
            raise
        return Joined(member.id, tuple([await self._kept(member.id, kept) for kept in joining.outbox]))

    async def _kept(self, client: str, kept: Kept) -> Reply:
        known = await self.answer(client, kept.task, kept.result_id)
        if known is not None:
            return known
        live = self._runner.live_of(kept.task)
        name = kept.task, kept.result_id
        got = self._runner.spool.got(live.state.id, *name, kept.size, project=live.project) if live else 0
        return SendFrom(*name, got)

    def joined(self, client: str) -> None:
        """The client's stream is ready: sessions may ask it, and what it was asked is offered again."""
        member = self._runner.roster[client]
        for live in self._runner.lives.values():
            if live.project == member.project and live.state.status not in ENDED:
                self._runner.presence.here(live, member)
                for task in live.state.outstanding():
                    if task.client == client:
                        self._runner.offer(live, task)

    def leave(self, client: str, instance: str, cause: str, holder: str = "") -> None:
        """The client's stream has ended: "goodbye", or "lost"."""
        member = self._runner.roster.get(client)
        if member is None or (member.instance, member.holder) != (instance, holder) or member.state != "connected":
            return
        self._away(member, "left" if cause == "goodbye" else "lost")
        self._runner.inbox.put(Seen(member, f"client.{member.state}"))

    def _away(self, member: Member, state: Literal["left", "lost"]) -> None:
        member.state, member.last_seen = state, time.time()
        for live in self._runner.lives.values():
            if live.project != member.project:
                continue
            if state == "left":
                self._runner.presence.gone(live.state.id, member.id)
            else:
                self._runner.presence.lost(live, member)

    def sent(self, task: str) -> None:
        """The task is on its client's stream."""
        live = self._runner.live_of(task)
        if live is not None and not self._armed(live, task):
            self._runner.inbox.put_aside(task)

    def _armed(self, live: Live, task: str) -> bool:
        """Whether the round's deadline runs from this task on, which has come to its client."""
        if not live.arms(task):
            return False
        self._runner.inbox.put(Entry(live.state.id, ev.Sent(task), patience=LINGER))
        return True

    def failed(self, client: str, task: str, reason: str, detail: str) -> None:
        """The client could not answer."""
        if self._runner.task_of(client, task) is not None:
            self._runner.post(session_of(task), ev.TaskFailed(task, reason[:32], detail[:DETAIL]))

    def asks(self, task: str) -> str:
        """The client whose answer is awaited; else ""."""
        live = self._runner.live_of(task)
        found = live.state.tasks.get(task) if live is not None else None
        return found.client if found is not None and found.open else ""

    def awaits(self, client: str, task: str) -> bool:
        """Whether an answer of this client to this task is awaited."""
        found = self._runner.task_of(client, task)
        return found is not None and found.open

    def open_task(self, client: str, task: str) -> OpenTask | None:
        """What intake needs; None when no answer of this client to this task is awaited."""
        live, found = self._runner.live_of(task), self._runner.task_of(client, task)
        if live is None or found is None or not found.open:
            return None
        base = live.bases.get(found.base)
        expected = {"init": Expected(None), "train": base.expected if base is not None else None}.get(found.kind)
        about = (live.state.id, live.project, live.state.accepting, found.kind, expected)
        if found.kind != "train" or base is None or live.coding is None:
            return OpenTask(*about)
        return OpenTask(*about, live.coding.codec, base.stored.sha256)

    async def answer(self, client: str, task: str, result_id: str) -> Reply | None:
        """What was said of a result, again; None while it is awaited."""
        live, found = self._runner.live_of(task), self._runner.task_of(client, task)
        if live is not None and found is not None:
            return of_task(found, live.name, result_id)
        async with self._runner.store.reading() as db:
            return await answer(db, client, task, result_id)

    async def take(self, arrival: Arrival, holder: str = ROOT) -> Reply:
        """Accept a result whose bytes have passed intake: durable, and in the rows, when this returns."""
        live, task = self._runner.live_of(arrival.task), self._runner.task_of(arrival.client, arrival.task)
        if live is None or task is None or not task.open:
            self.drop(arrival)
            return await self._said(arrival.client, arrival.task, arrival.result_id)
        try:
            taken = self._taken(live, task, arrival)
            await self._judge(live, task, arrival)
        except FormulaError as error:
            return await self._formula_error(live, arrival, error)
        except Refused as refused:
            self.drop(arrival)
            return await self.refuse(arrival.client, arrival.task, arrival.result_id, refused)
        except (asyncio.CancelledError, StateError):
            if arrival.span is not None:
                self._runner.spool.release(arrival.span)  # its client may go on with it
            raise
        written: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
        self._post(live, taken, holder, written)
        reply = await written
        self.drop(arrival)
        return reply or await self._said(arrival.client, arrival.task, arrival.result_id)

    @property
    def notes(self) -> bool:
        """Whether `note` may be asked: no gate wants to see updates."""
        return not self._runner.gates.has("update_received")

    def note(self, arrival: Arrival, holder: str, waiter: Waiter) -> bool:
        """Accept a result where nothing but its commit is to be waited for; False: `take` it."""
        live, task = self._runner.live_of(arrival.task), self._runner.task_of(arrival.client, arrival.task)
        if live is None or task is None or not task.open or not self.notes:
            return False
        try:
            self._post(live, self._taken(live, task, arrival), holder, waiter)
        except (FormulaError, Refused, StateError):
            return False
        return True

    def _post(self, live: Live, taken: Taken, holder: str, waiter: Waiter) -> None:
        self._armed(live, taken.arrival.task)  # it may be here before its task's sending is told
        live.arrived += 1
        many = min(max(live.awaited / 100, 1.0), 10.0)
        company = COMPANY_ASYNC if live.state.rules.mode == "async" else COMPANY * many
        result = ev.Result(taken.arrival.task, taken.arrival.result_id, holder)
        patience = company if live.arrived < live.awaited else 0.0
        self._runner.inbox.put(Entry(live.state.id, result, taken, waiter, patience))

    def hurry(self) -> None:
        """Results wait for memory that others hold until their commit."""
        self._runner.inbox.hurry()

    def drop(self, arrival: Arrival) -> None:
        """Forget its bytes, unless they are the accepted ones."""
        live = self._runner.live_of(arrival.task)
        if live is None or not live.keeps(arrival):
            self._runner.forget(arrival.span)

    async def _judge(self, live: Live, task: Task, arrival: Arrival) -> None:
        """Refused where a gate does not let an update count."""
        if task.kind == "train" and self._runner.gates.has("update_received"):
            member = self._runner.roster[task.client]
            update = update_view(live, task, member.name, arrival)
            await self._runner.gates.accept(session_facts(live), client_facts(member), update)

    async def refuse(self, client: str, task: str, result_id: str, refused: Refused) -> Reply:
        """Intake did not take a result."""
        if self._runner.task_of(client, task) is not None:
            event = ev.Refused(task, refused.reason, refused.detail[:DETAIL])
            await self._runner.settle(session_of(task), event)
        return await self._said(client, task, result_id)

    async def _said(self, client: str, task: str, result_id: str) -> Reply:
        reply = await self.answer(client, task, result_id)
        return reply or Verdict(task, result_id, "lost", reason="lost", detail="this server knows no such task")

    async def _formula_error(self, live: Live, arrival: Arrival, error: FormulaError) -> Reply:
        log.error(
            "formula.error session=%s client=%s", live.name, self._runner.roster.name(arrival.client), exc_info=error
        )
        self.drop(arrival)
        live.formula_errors += 1
        refused = Refused("formula-error", str(error))
        reply = await self.refuse(arrival.client, arrival.task, arrival.result_id, refused)
        if live.formula_errors >= FORMULA_ERRORS:
            self._runner.post(
                live.state.id, ev.Broken(f"the formula failed on {live.formula_errors} results in a row: {error}")
            )
        return reply

    def progress(self, client: str, task: str, step: int, metrics: Mapping[str, float]) -> None:
        """A live curve: to listeners only, never kept."""
        self._say(client, task, "client.progress", {"step": step, "metrics": dict(metrics)})

    def log(self, client: str, task: str, level: str, text: str) -> None:
        """A line that a client's code wrote for this server."""
        self._say(client, task, "client.log", {"level": level, "text": text})

    def _say(self, client: str, task: str, type_: str, body: dict[str, Any]) -> None:
        member, live = self._runner.roster.get(client), self._runner.live_of(task)
        if member is not None:
            session = live.state.id if live is not None and live.project == member.project else None
            body = {"client": member.name, "task": task, **body}
            self._runner.feed.publish([Published(0, member.project, session, type_, body, time.time())])

    async def readable(self, client: str | None, sha256: bytes) -> Span:
        """A blob that a task of this client's project brings; None: of any project, for a combiner. Else NotFound."""
        member = self._runner.roster.get(client) if client is not None else None
        for live in self._runner.lives.values():
            if client is not None and (member is None or live.project != member.project):
                continue
            for base in live.bases.values():
                if any(i.sha256 == sha256 for i in base.inputs.values()):
                    return await self._runner.blobs.span(live.project, sha256)
        raise NotFound(f"no open task brings the blob {sha256.hex()}")

    def _taken(self, live: Live, task: Task, arrival: Arrival) -> Taken:
        if live.missing is not None and task.kind == "train":
            raise StateError(f"nobody can weigh updates of session {live.name}: {live.missing}")
        found = weighed(live, task, arrival, self._runner.roster)
        live.formula_errors = 0
        return found
