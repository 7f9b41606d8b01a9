"""The relay: what clients do goes up, what the parent says goes down. It decides nothing about rounds."""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from fedk.aggregation.expected import Expected
from fedk.aggregation.model import Model
from fedk.api.codec import BlockCodec
from fedk.api.errors import Refused
from fedk.blobs.reader import Span
from fedk.blobs.spool import Spool
from fedk.combiner import words
from fedk.combiner.below import Below
from fedk.combiner.columns import numbers
from fedk.combiner.errands import errands
from fedk.combiner.flushes import Flushes
from fedk.combiner.holdings import Held, Holdings
from fedk.combiner.inputs import Inputs
from fedk.combiner.parent import Parent
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
    Work,
)
from fedk.rounds.door import OpenTask
from fedk.rounds.inbox import Waiter
from fedk.rounds.states import task_id
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier

COMMONS = 64
"""Rounds and kinds whose common part is kept: twice what the parent says once."""


@dataclass(slots=True)
class Deadline:
    """Of a round's tasks, in monotonic seconds, as the parent has said last."""

    at: float = 0.0

    def left(self) -> float:
        return max(0.0, self.at - time.monotonic())


@dataclass(slots=True)
class Brief:
    """What the tasks of one round and kind have in common, with its blobs at hand."""

    number: int
    work: Work
    accepting: int
    expected: Expected | None
    blobs: tuple[bytes, ...]  # used of the inputs
    model: Model | None
    codec: BlockCodec | None  # that an answer's model may be in
    deadline: Deadline
    tasks: int = 0  # that are open here
    begun: bool = False  # one of them is on its client's stream
    retired: bool = False  # a later one has taken its place
    left: set[str] = field(default_factory=set)  # tasks whose clients have left: half of an answer may be here

    def close(self, inputs: Inputs) -> None:
        if self.model is not None:
            self.model.close()
        for sha256 in self.blobs:
            inputs.release(sha256)


@dataclass(frozen=True, slots=True)
class Stay:
    """Where a client is: a combiner below by id, or "" for this one."""

    instance: str
    holder: str = ""


class Depths(Protocol):
    """What the relay tells of the combiners below: `fedk.combiner.children` listens."""

    def attached(self) -> None:
        """There is a stream to the parent."""

    def drain(self, name: str) -> None:
        """The combiner of this name is to give away what it holds."""


@dataclass(slots=True)
class Known:
    """A task of a client of this combiner, or of one below."""

    client: str
    brief: Brief
    seed: int


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
        codecs: Callable[[str, str], BlockCodec | None],
    ) -> None:
        self._holdings, self._flushes, self._inputs, self._spool = holdings, flushes, inputs, spool
        self._below, self._parent, self._codecs = below, parent, codecs
        self._clients: Clients | None = None
        self._depths: Depths | None = None
        self._tasks: dict[str, Known] = {}
        self._commons: OrderedDict[int, tier.Common] = OrderedDict()
        self._briefs: dict[int, asyncio.Task[Brief]] = {}
        self._waiting: Counter[asyncio.Task[Brief]] = Counter()  # offers, by what they wait for
        self._coming: dict[str, words.Asked] = {}  # by task: the latest offer, which waits for its brief
        self._stays: dict[str, Stay] = {}  # by client
        self._errands = errands()

    def start(self, clients: Clients, depths: Depths) -> None:
        """From now on words go both ways."""
        self._clients, self._depths = clients, depths

    async def close(self) -> None:
        """Let go of files."""
        await self._errands.close()
        for task in list(self._tasks):
            self.forget(task)
        for making in self._briefs.values():
            if making.done() and _goes_well(making):
                making.result().close(self._inputs)

    @property
    def _network(self) -> Clients:
        assert self._clients is not None  # noqa: S101  # start() sets it
        return self._clients

    # ---- what clients do: as `fedk.rounds.door.Door` ----

    async def join(self, joining: Joining, holder: str = "") -> Joined:
        """The root knows who it is. Refused, Redirected, or StateError while the parent is away."""
        joined = await self._parent.join(joining)
        self._stays[joined.client] = Stay(joining.instance, holder)
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
        stay = self._stays.get(client, Stay(""))
        self._parent.members(here=[tier.Present(client=client, instance=stay.instance)])

    def leave(self, client: str, instance: str, cause: str) -> None:
        """Its stream has ended."""
        self.gone([Present(client, instance, cause=cause)])

    def here(self, clients: Iterable[Present], holder: str) -> None:
        """Clients of a combiner below: their streams are ready."""
        found = list(clients)
        self._stays.update((one.client, Stay(one.instance, holder)) for one in found)
        self._parent.members(here=[words.present(one) for one in found])

    def gone(self, clients: Iterable[Present], holder: str = "") -> None:
        """Their streams have ended, where they were. Who has gone elsewhere is still there."""
        left = [one for one in clients if self._stays.get(one.client) == Stay(one.instance, holder)]
        away = {one.client for one in left}
        for client in away:
            del self._stays[client]
        tasks = [task for task, known in self._tasks.items() if known.client in away]
        for task in tasks:
            self._tasks[task].brief.left.add(task)
        for task in [*tasks, *(task for task, one in self._coming.items() if one.client in away)]:
            self.forget(task)
        if left:
            self._parent.members(gone=[words.present(one) for one in left])

    def stays(self, holder: str) -> Iterator[tuple[str, Stay]]:
        """Who is at a combiner below."""
        return iter([(client, stay) for client, stay in self._stays.items() if stay.holder == holder])

    def stay(self, client: str) -> Stay | None:
        """Where a client is."""
        return self._stays.get(client)

    def sent(self, task: str) -> None:
        """The task is on its client's stream. From the first of its kind on a round's deadline runs."""
        known = self._tasks.get(task)
        self._parent.sent(task, soon=known is None or not known.brief.begun)
        if known is not None:
            known.brief.begun = True

    def failed(self, client: str, task: str, reason: str, detail: str) -> None:
        """The client could not answer."""
        self._declined(tier.Declined(client=client, task=task, reason=reason, detail=detail, failed=True))

    def _declined(self, one: tier.Declined) -> None:
        self._parent.declined(one)
        if self.asks(one.task) == one.client:
            self.forget(one.task)

    def awaits(self, client: str, task: str) -> bool:
        """Whether an answer of this client to this task is awaited here."""
        known = self._tasks.get(task)
        return known is not None and known.client == client and self._holdings.get(task) is None

    def open_task(self, client: str, task: str) -> OpenTask | None:
        """What intake needs; None when no answer of this client to this task is awaited here."""
        if not self.awaits(client, task):
            return None
        brief = self._tasks[task].brief
        work = brief.work
        about = (work.session, work.project, brief.accepting, work.kind, brief.expected)
        return OpenTask(*about, brief.codec, work.inputs["model"].sha256 if brief.codec is not None else b"")

    async def answer(self, client: str, task: str, result_id: str) -> Reply | None:
        """What was said of a result; None while it is awaited."""
        held, below = self._holdings.get(task), self._below.get(task)
        if (held is not None and held.arrival.client == client) or (below is not None and below.client == client):
            return Receipt(task, result_id)
        if task in self._tasks:
            return None
        return await self._parent.ask(client, task, result_id)

    async def take(self, arrival: Arrival) -> Reply:
        """Hold a result whose bytes have passed intake: durable when this returns."""
        known = self._tasks.get(arrival.task)
        if known is None or self._holdings.get(arrival.task) is not None:
            self.drop(arrival)
            answer = await self.answer(arrival.client, arrival.task, arrival.result_id)
            return answer or SendFrom(arrival.task, arrival.result_id, 0)
        reported = replace(arrival, span=None, project=known.brief.work.project)
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
        for number in list(self._briefs):  # another stream counts its rounds and kinds anew
            self._retire(number)
        self._commons.clear()
        here = [tier.Present(client=client, instance=stay.instance) for client, stay in self._stays.items()]
        self._parent.members(here=here)
        self._parent.report(held.arrival for held in self._holdings.all())
        self._parent.report(self._below)
        if self._depths is not None:
            self._depths.attached()

    def relay(self, fresh: Iterable[tier.Common], tasks: Iterable[words.Asked]) -> None:
        """Tasks for clients of this combiner, and of those below; what they have in common comes once."""
        for common in fresh:
            for number in list(self._briefs):
                before = self._commons.get(number)
                if before and (before.session, before.task.kind) == (common.session, common.task.kind):
                    self._retire(number)
            self._commons[common.id] = common
            if len(self._commons) > COMMONS:
                self._retire(self._commons.popitem(last=False)[0])
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

    def _making(self, number: int) -> "asyncio.Task[Brief]":
        """Made once for all tasks of it; after a failure anew for those that come then."""
        making = self._briefs.get(number)
        if making is None or not _goes_well(making):
            making = self._briefs[number] = asyncio.create_task(self._brief(self._commons[number]))
        return making

    async def _know(self, one: words.Asked) -> bool:
        """Its brief is at hand; False where it is not wanted any more: taken back, offered again, its client gone."""
        self._coming[one.task], making = one, self._making(one.common)
        self._waiting[making] += 1  # it is not closed before it is looked at
        try:
            brief = await asyncio.shield(making)
            if self._coming.get(one.task) is one:
                self._tasks[one.task] = Known(one.client, brief, one.seed)
                brief.tasks += 1
            return one.task in self._tasks
        finally:
            if self._coming.get(one.task) is one:
                del self._coming[one.task]
            self._waiting[making] -= 1
            if not self._waiting[making]:
                del self._waiting[making]
                self._look_at(making)

    async def _brief(self, common: tier.Common) -> Brief:
        task, wanted = common.task, common.expectation
        used, model = list[bytes](), None
        try:
            for blob in task.inputs.values():
                inline = blob.inline if blob.HasField("inline") else None
                await self._inputs.use(blob.sha256, self._parent, inline)
                used.append(blob.sha256)
            if wanted.blobs and "model" in task.inputs:
                model = await asyncio.to_thread(Model.open, self._inputs.span(task.inputs["model"].sha256))
        except BaseException:
            for sha256 in used:
                self._inputs.release(sha256)
            raise
        expected = words.expected(wanted, model, tuple(task.sets)) if wanted.blobs else None
        codec = self._codecs(task.codec, task.codec_settings) if task.codec and model is not None else None
        deadline = Deadline()
        work = words.work(common, codec, deadline.left)
        return Brief(common.id, work, common.accepting, expected, tuple(used), model, codec, deadline)

    def _retire(self, number: int) -> None:
        """Close it once no task of it is open."""
        making = self._briefs.pop(number, None)
        if making is not None:
            making.add_done_callback(self._retired)

    def _retired(self, making: "asyncio.Task[Brief]") -> None:
        if _goes_well(making):
            making.result().retired = True
            self._look_at(making)

    def _look_at(self, making: "asyncio.Task[Brief]") -> None:
        if making.done() and _goes_well(making) and not self._waiting[making]:
            self._close_idle(making.result())

    def _close_idle(self, brief: Brief) -> None:
        if brief.retired and not brief.tasks:
            brief.close(self._inputs)
            for task in brief.left - self._tasks.keys() - self._coming.keys():
                self._spool.expire(task)

    async def _offer(self, one: words.Asked) -> None:
        held, below = self._holdings.get(one.task), self._below.get(one.task)
        if held is not None or below is not None:  # it is answered; the report may not have reached the parent
            self._parent.report([*([held.arrival] if held else []), *([below] if below else [])])
            return
        if one.client not in self._stays:
            return
        if one.task not in self._tasks and not await self._know(one):
            return
        brief = self._tasks[one.task].brief
        brief.deadline.at = time.monotonic() + one.remaining
        self._network.offer(Offer(one.task, one.client, one.seed, brief.work))

    def forget(self, task: str) -> None:
        """No answer to it is awaited any more: what others have of it counts."""
        self._parent.report(self._below.admit(task))
        self._coming.pop(task, None)
        known = self._tasks.pop(task, None)
        if known is not None:
            known.brief.tasks -= 1
            self._close_idle(known.brief)

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
        found = self._tasks.get(task) or self._coming.get(task)
        return found.client if found is not None else ""

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


def _goes_well(making: "asyncio.Task[Brief]") -> bool:
    """Whether there is a brief, or will be."""
    return not making.done() or not (making.cancelled() or making.exception())
