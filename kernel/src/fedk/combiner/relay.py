"""The relay: what clients do goes up, what the parent says goes down. It decides nothing about rounds."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from fedk.api.errors import Refused
from fedk.blobs.reader import Span
from fedk.blobs.spool import Spool
from fedk.combiner import words
from fedk.combiner.below import Below
from fedk.combiner.brief import Codecs
from fedk.combiner.columns import numbers
from fedk.combiner.errands import errands
from fedk.combiner.flushes import Flushes
from fedk.combiner.holdings import Held, Holdings
from fedk.combiner.inputs import Inputs
from fedk.combiner.parent import Parent
from fedk.combiner.stays import Stay, Stays
from fedk.combiner.tasks import Tasks
from fedk.rounds.clients import (
    Arrival,
    Clients,
    Flush,
    Joined,
    Joining,
    Offer,
    Present,
    Receipt,
    Reply,
    SendFrom,
    Verdict,
)
from fedk.rounds.door import OpenTask
from fedk.rounds.inbox import Waiter
from fedk.rounds.states import task_id
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier


class Depths(Protocol):
    """What the relay tells of the combiners below: `fedk.combiner.children` listens."""

    def attached(self) -> None:
        """There is a stream to the parent."""

    def drain(self, name: str) -> None:
        """The combiner of this name is to give away what it holds."""


class Relay:
    """Stands where a root's `Door` stands, and takes the parent's words. Begins with `start`."""

    def __init__(
        self,
        *,
        holdings: Holdings,
        flushes: Flushes,
        inputs: Inputs,
        spool: Spool,
        below: Below,
        parent: Parent,
        codecs: Codecs,
    ) -> None:
        self._holdings, self._flushes, self._inputs, self._spool = holdings, flushes, inputs, spool
        self._below, self._parent = below, parent
        self._tasks = Tasks(inputs=inputs, spool=spool, parent=parent, codecs=codecs)
        self._clients: Clients | None = None
        self._depths: Depths | None = None
        self._stays = Stays()
        self._errands = errands()

    def start(self, clients: Clients, depths: Depths) -> None:
        """From now on words go both ways."""
        self._clients, self._depths = clients, depths

    async def close(self) -> None:
        """Let go of files."""
        await self._errands.close()
        self._tasks.close()

    @property
    def _network(self) -> Clients:
        assert self._clients is not None  # noqa: S101  # start() sets it
        return self._clients

    # ---- what clients do: as `fedk.rounds.door.Door` ----

    async def join(self, joining: Joining, holder: str = "") -> Joined:
        """The root knows who it is. Refused, Redirected, or StateError while the parent is away."""
        joined = await self._parent.join(joining)
        self._stays.put(joined.client, Stay(joining.instance, holder))
        replies = [self._own(reply) for reply in joined.replies]
        return Joined(joined.client, tuple(replies))

    def _own(self, reply: Reply) -> Reply:
        """What is held here or below needs not be sent again, whatever the root has heard of it."""
        if isinstance(reply, SendFrom) and reply.result_id in self._held(reply.task):
            return Receipt(reply.task, reply.result_id)
        return reply

    def _held(self, task: str) -> list[str]:
        """The results of a task that are here or below."""
        held, below = self._holdings.get(task), self._below.get(task)
        return [*([held.arrival.result_id] if held else []), *([below.result_id] if below else [])]

    def joined(self, client: str) -> None:
        """Its stream is ready."""
        stay = self._stays.get(client) or Stay("")
        self._parent.members(here=[tier.Present(client=client, instance=stay.instance)])

    def leave(self, client: str, instance: str, cause: str) -> None:
        """Its stream has ended."""
        self.gone([Present(client, instance, cause=cause)])

    def here(self, clients: Iterable[Present], holder: str) -> None:
        """Clients of a combiner below: their streams are ready."""
        found = list(clients)
        for one in found:
            self._stays.put(one.client, Stay(one.instance, holder))
        self._parent.members(here=[words.present(one) for one in found])

    def gone(self, clients: Iterable[Present], holder: str = "") -> None:
        """Their streams have ended, where they were. Who has gone elsewhere is still there."""
        left = [one for one in clients if self._stays.get(one.client) == Stay(one.instance, holder)]
        away = {one.client for one in left}
        for client in away:
            self._stays.forget(client)
        for task in self._tasks.leave(away):
            self._parent.report(self._below.admit(task))
        if left:
            self._parent.members(gone=[words.present(one) for one in left])

    def stays(self, holder: str) -> Mapping[str, Stay]:
        """Who is at a combiner below."""
        return self._stays.at(holder)

    def stay(self, client: str) -> Stay | None:
        """Where a client is."""
        return self._stays.get(client)

    def sent(self, task: str) -> None:
        """The task is on its client's stream. From the first of its kind on a round's deadline runs."""
        found = self._tasks.get(task)
        self._parent.sent(task, soon=found is None or not found.brief.begun)
        if found is not None:
            found.brief.begun = True

    def failed(self, client: str, task: str, reason: str, detail: str) -> None:
        """The client could not answer."""
        self._declined(tier.Declined(client=client, task=task, reason=reason, detail=detail, failed=True))

    def _declined(self, one: tier.Declined) -> None:
        self._parent.declined(one)
        if self.asks(one.task) == one.client:
            self.forget(one.task)

    def awaits(self, client: str, task: str) -> bool:
        """Whether an answer of this client to this task is awaited here."""
        found = self._tasks.get(task)
        return found is not None and found.client == client and self._holdings.get(task) is None

    def open_task(self, client: str, task: str) -> OpenTask | None:
        """What intake needs; None when no answer of this client to this task is awaited here."""
        found = self._tasks.get(task)
        if found is None or not self.awaits(client, task):
            return None
        brief, work = found.brief, found.brief.work
        about = (work.session, work.project, brief.accepting, work.kind, brief.expected)
        return OpenTask(*about, brief.codec, work.inputs["model"].sha256 if brief.codec is not None else b"")

    async def answer(self, client: str, task: str, result_id: str) -> Reply | None:
        """What was said of a result; None while it is awaited."""
        held, below = self._holdings.get(task), self._below.get(task)
        if (held is not None and held.arrival.client == client) or (below is not None and below.client == client):
            return Receipt(task, result_id)
        if self._tasks.get(task) is not None:
            return None
        return await self._parent.ask(client, task, result_id)

    async def take(self, arrival: Arrival) -> Reply:
        """Hold a result whose bytes have passed intake: durable when this returns."""
        found = self._tasks.get(arrival.task)
        if found is None or self._holdings.get(arrival.task) is not None:
            self.drop(arrival)
            answer = await self.answer(arrival.client, arrival.task, arrival.result_id)
            return answer or SendFrom(arrival.task, arrival.result_id, 0)
        reported = replace(arrival, span=None, project=found.brief.work.project)
        await self._holdings.put(Held(reported, arrival.span))
        self.forget(arrival.task)
        self._flushes.look()
        return Receipt(arrival.task, arrival.result_id)

    @property
    def notes(self) -> bool:
        """Whether `note` may be asked."""
        return False

    def note(self, _arrival: Arrival, _holder: str, _waiter: Waiter) -> bool:
        """What a combiner holds is written down first: `take` it."""
        return False

    def hurry(self) -> None:
        """Nothing waits for company here."""

    def drop(self, arrival: Arrival) -> None:
        """Forget its bytes: it was not taken."""
        if arrival.span is not None and not self._holds(arrival):
            self._spool.forget(arrival.span)

    def _holds(self, arrival: Arrival) -> bool:
        held = self._holdings.get(arrival.task)
        return held is not None and held.span == arrival.span

    async def refuse(self, client: str, task: str, result_id: str, refused: Refused) -> Reply:
        """Intake did not take a result."""
        if self._tasks.get(task) is not None:
            self.decline(client, task, refused)
        return Verdict(task, result_id, "rejected", reason=refused.reason, detail=refused.detail)

    def decline(self, client: str, task: str, refused: Refused) -> None:
        """A result was not taken, here or below."""
        self._declined(tier.Declined(client=client, task=task, reason=refused.reason, detail=refused.detail))

    def progress(self, client: str, task: str, step: int, metrics: Mapping[str, float]) -> None:
        """A live curve."""
        said = pb.Progress(task=task, step=step, metrics=metrics)
        self._parent.said(tier.Said(client=client, progress=said))

    def log(self, client: str, task: str, level: str, text: str) -> None:
        """A line that a client's code wrote."""
        self._parent.said(tier.Said(client=client, log=pb.Log(task=task, level=level, text=text)))

    async def readable(self, client: str | None, sha256: bytes) -> Span:
        """A blob that a task of this client brings, or a combiner below needs. NotFound otherwise."""
        return self._inputs.span(sha256)

    # ---- what the parent says ----

    def attached(self) -> None:
        """The stream is ready: say who is here and what is held. What it knows already changes nothing."""
        self._tasks.anew()
        here = [tier.Present(client=client, instance=stay.instance) for client, stay in self._stays]
        self._parent.members(here=here)
        self._parent.report(held.arrival for held in self._holdings.all())
        self._parent.report(self._below)
        if self._depths is not None:
            self._depths.attached()

    def relay(self, fresh: Iterable[tier.Common], tasks: Iterable[words.Asked]) -> None:
        """Tasks for clients of this combiner, and of those below; what they have in common comes once."""
        for common in fresh:
            self._tasks.hear(common)
        for one in tasks:
            self._errands.spawn(self._offer(one))

    def answers(self, answers: tier.Answers) -> None:
        """Words for clients of this combiner."""
        for one in answers.answers:
            match one.WhichOneof("kind"):
                case "cancel":
                    self.forget(one.cancel.task)
                    self._network.cancel(one.client, one.cancel.task, one.cancel.reason)
                case "verdict":
                    self._settle(one.client, words.verdict(one.verdict))
                case "redirect":
                    self._network.redirect(one.client, list(one.redirect.addresses), one.redirect.ticket)
                case "send_from":
                    word = one.send_from
                    self._network.reply(one.client, SendFrom(word.task, word.result_id, word.offset))
        for many in answers.settled:
            self._settle_many(many)

    def flush(self, flush: Flush) -> None:
        """Give these updates: their sum, or each as it came."""
        self._flushes.answer(flush)

    def partial_taken(self, taken: tier.PartialTaken) -> None:
        """The sum is durable at the parent."""
        self._flushes.partial_taken(taken)

    def refold(self, refold: tier.Refold) -> None:
        """The sum has tasks that are not this combiner's: the flush that follows names those that are."""
        self._flushes.refold(refold)

    def draining(self, draining: tier.Draining) -> None:
        """A combiner below is to give away what it holds."""
        if self._depths is not None:
            self._depths.drain(draining.combiner)

    def unreached(self, unreached: tier.Unreached) -> None:
        """A client could not connect to combiners below: it is sent elsewhere."""
        self._network.unreached(unreached.project, unreached.name, list(unreached.addresses))

    # ---- inside ----

    async def _offer(self, one: words.Asked) -> None:
        held, below = self._holdings.get(one.task), self._below.get(one.task)
        if held is not None or below is not None:  # it is answered; the report may not have reached the parent
            self._parent.report([*([held.arrival] if held else []), *([below] if below else [])])
            return
        if one.client not in self._stays:
            return
        try:
            brief = await self._tasks.open(one)
        finally:
            if not self.asks(one.task):  # its brief could not be made: what others have of it counts
                self.forget(one.task)
        if brief is not None:
            brief.deadline.at = time.monotonic() + one.remaining
            self._network.offer(Offer(one.task, one.client, one.seed, brief.work))

    def forget(self, task: str) -> None:
        """No answer to it is awaited any more: what others have of it counts."""
        self._parent.report(self._below.admit(task))
        self._tasks.forget(task)

    def _settle_many(self, many: tier.Settled) -> None:
        said, unknown = words.verdict(many.said), list[str]()
        for number in numbers(many.tasks):
            task = task_id(many.session, number)
            if client := self.client_of(task):
                self._settle(client, replace(said, task=task))
            else:  # what was held has been lost meanwhile: the parent knows whose it was
                unknown.append(task)
        self._parent.report(lost=unknown)

    def asks(self, task: str) -> str:
        """The client whose answer is awaited, or is to be; else ""."""
        return self._tasks.client(task)

    def client_of(self, task: str) -> str:
        """Whose task it is, if it is held here or below, or awaited; else ""."""
        held, below = self._holdings.get(task), self._below.get(task)
        found = (held.arrival if held is not None else None) or below
        return self.asks(task) or (found.client if found is not None else "")

    def _settle(self, client: str, verdict: Verdict) -> None:
        if self.client_of(verdict.task) not in ("", client):
            return
        result_id = next(filter(None, [verdict.result_id, *self._held(verdict.task)]), "")
        if holders := self._below.settle(verdict.task):
            self._parent.changed()
        self.forget(verdict.task)
        self._holdings.drop(verdict.task)
        self._flushes.settled(verdict.task)
        self._spool.expire(verdict.task)
        self._network.reply(client, replace(verdict, result_id=result_id), holders)
