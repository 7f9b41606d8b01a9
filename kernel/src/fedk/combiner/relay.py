"""The relay: what clients do goes up, what the parent says goes down. It decides nothing about rounds."""

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedk.aggregation.contribution import Contribution
from fedk.aggregation.expected import Expected
from fedk.aggregation.model import Model
from fedk.api.codec import BlockCodec
from fedk.api.errors import BlobError, FedkError, Refused, StateError
from fedk.blobs.reader import Reader, Span
from fedk.blobs.spool import Spool
from fedk.combiner import words
from fedk.combiner.holdings import Held, Holdings
from fedk.combiner.inputs import Inputs
from fedk.combiner.parent import Parent
from fedk.combiner.partials import Order, Partials
from fedk.rounds.clients import (
    Arrival,
    Clients,
    Joined,
    Joining,
    Offer,
    Receipt,
    Reply,
    SendFrom,
    Verdict,
    Work,
)
from fedk.rounds.door import OpenTask
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier

COMMONS = 64
"""Rounds and kinds whose common part is kept: twice what the parent says once."""

READ = 2**20

log = logging.getLogger("fedk.combiner")


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
    tasks: int = 0  # that are open here
    retired: bool = False  # a later one has taken its place

    def close(self, inputs: Inputs) -> None:
        if self.model is not None:
            self.model.close()
        for sha256 in self.blobs:
            inputs.release(sha256)


@dataclass(slots=True)
class Known:
    """A task of a client of this combiner."""

    client: str
    brief: Brief
    seed: int


class Relay:
    """Stands where a root's `Door` stands, and takes the parent's words. Begins with `start`."""

    def __init__(
        self,
        *,
        holdings: Holdings,
        partials: Partials,
        inputs: Inputs,
        spool: Spool,
        parent: Parent,
        codecs: Callable[[str, str], BlockCodec | None],
    ) -> None:
        self._holdings, self._partials, self._inputs, self._spool = holdings, partials, inputs, spool
        self._parent, self._codecs = parent, codecs
        self._clients: Clients | None = None
        self._tasks: dict[str, Known] = {}
        self._commons: OrderedDict[int, tier.Common] = OrderedDict()
        self._briefs: dict[int, asyncio.Task[Brief]] = {}
        self._here: dict[str, str] = {}  # instance by client
        self._working: set[asyncio.Task[None]] = set()
        self._flushes: dict[str, asyncio.Lock] = {}  # by session: one sum after the other

    def start(self, clients: Clients) -> None:
        """From now on words go both ways."""
        self._clients = clients

    async def close(self) -> None:
        """Let go of files."""
        for work in self._working:
            work.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)
        for making in self._briefs.values():
            if making.done() and not making.cancelled() and making.exception() is None:
                making.result().close(self._inputs)

    @property
    def _network(self) -> Clients:
        assert self._clients is not None  # noqa: S101  # start() sets it
        return self._clients

    # ---- what clients do: as `fedk.rounds.door.Door` ----

    async def join(self, joining: Joining) -> Joined:
        """The root knows who it is. Refused, Redirected, or StateError while the parent is away."""
        joined = await self._parent.join(joining)
        self._here[joined.client] = joining.instance
        replies = [self._own(reply) for reply in joined.replies]
        return Joined(joined.client, tuple(replies))

    def _own(self, reply: Reply) -> Reply:
        """What is held here needs not be sent again, whatever the root has heard of it."""
        held = self._holdings.get(reply.task)
        if isinstance(reply, SendFrom) and held is not None and held.report.result.result_id == reply.result_id:
            return Receipt(reply.task, reply.result_id)
        return reply

    def joined(self, client: str, outbox: Iterable[str] = ()) -> None:
        """Its stream is ready."""
        here = tier.Present(client=client, instance=self._here.get(client, ""), working=outbox)
        self._parent.members(here=[here])

    def leave(self, client: str, instance: str, cause: str) -> None:
        """Its stream has ended."""
        if self._here.get(client) == instance:
            del self._here[client]
            for task in [task for task, known in self._tasks.items() if known.client == client]:
                self._forget(task)
        self._parent.members(gone=[tier.Present(client=client, instance=instance, cause=cause)])

    def sent(self, task: str) -> None:
        """The task is on its client's stream."""
        self._parent.sent(task)

    def failed(self, client: str, task: str, reason: str, detail: str) -> None:
        """The client could not answer."""
        self._forget(task)
        self._parent.declined(tier.Declined(client=client, task=task, reason=reason, detail=detail, failed=True))

    def open_task(self, client: str, task: str) -> OpenTask | None:
        """What intake needs; None when no answer of this client to this task is awaited here."""
        known = self._tasks.get(task)
        if known is None or known.client != client or self._holdings.get(task) is not None:
            return None
        brief = known.brief
        work = brief.work
        about = (work.session, work.project, brief.accepting, work.kind, brief.expected)
        return OpenTask(*about, brief.codec, work.inputs["model"].sha256 if brief.codec is not None else b"")

    async def answer(self, client: str, task: str, result_id: str) -> Reply | None:
        """What was said of a result; None while it is awaited."""
        held = self._holdings.get(task)
        if held is not None and held.report.client == client:
            return Receipt(task, result_id)
        if task in self._tasks:
            return None
        return await self._parent.ask(client, task, result_id)

    async def take(self, arrival: Arrival) -> Reply:
        """Hold a result whose bytes have passed intake: durable when this returns."""
        known = self._tasks.get(arrival.task)
        if known is None or self._holdings.get(arrival.task) is not None:
            if arrival.span is not None and not self._holds(arrival):
                self._spool.forget(arrival.span)
            answer = await self.answer(arrival.client, arrival.task, arrival.result_id)
            return answer or SendFrom(arrival.task, arrival.result_id, 0)
        work = known.brief.work
        await self._holdings.put(Held(words.report(arrival), work.project, work.session, arrival.span))
        self._forget(arrival.task)
        return Receipt(arrival.task, arrival.result_id)

    def _holds(self, arrival: Arrival) -> bool:
        held = self._holdings.get(arrival.task)
        return held is not None and held.span == arrival.span

    async def refuse(self, client: str, task: str, result_id: str, refused: Refused) -> Reply:
        """Intake did not take a result."""
        if self._tasks.get(task) is not None:
            self._forget(task)
            declined = tier.Declined(client=client, task=task, reason=refused.reason, detail=refused.detail)
            self._parent.declined(declined)
        return Verdict(task, result_id, "rejected", reason=refused.reason, detail=refused.detail)

    def progress(self, client: str, task: str, step: int, metrics: Mapping[str, float]) -> None:
        """A live curve."""
        said = pb.Progress(task=task, step=step, metrics=metrics)
        self._parent.said(tier.Said(client=client, progress=said))

    def log(self, client: str, task: str, level: str, text: str) -> None:
        """A line that a client's code wrote."""
        self._parent.said(tier.Said(client=client, log=pb.Log(task=task, level=level, text=text)))

    async def readable(self, client: str | None, sha256: bytes) -> Span:
        """A blob that a task of this client brings. NotFound otherwise."""
        return self._inputs.span(sha256)

    # ---- what the parent says ----

    def attached(self) -> None:
        """The stream is ready: say who is here and what is held. What it knows already changes nothing."""
        for number in list(self._briefs):  # another stream counts its rounds and kinds anew
            self._retire(number)
        self._commons.clear()
        here = [tier.Present(client=client, instance=instance) for client, instance in self._here.items()]
        self._parent.members(here=here)
        self._parent.report(held.report for held in self._holdings.all())

    def relay(self, relay: tier.Relay) -> None:
        """Tasks for clients of this combiner."""
        for common in relay.common:
            for number in list(self._briefs):
                before = self._commons.get(number)
                if before and (before.session, before.task.kind) == (common.session, common.task.kind):
                    self._retire(number)
            self._commons[common.id] = common
            if len(self._commons) > COMMONS:
                self._retire(self._commons.popitem(last=False)[0])
        for one in relay.tasks:
            self._spawn(self._offer(one))

    def answers(self, answers: tier.Answers) -> None:
        """Words for clients of this combiner."""
        for one in answers.answers:
            match one.WhichOneof("kind"):
                case "cancel":
                    self._forget(one.cancel.task)
                    self._network.cancel(one.client, one.cancel.task, one.cancel.reason)
                case "verdict":
                    self._verdict(one.client, one.verdict)
                case "redirect":
                    self._network.redirect(one.client, list(one.redirect.addresses), one.redirect.ticket)
                case "send_from":
                    word = one.send_from
                    self._network.reply(one.client, SendFrom(word.task, word.result_id, word.offset))

    def flush(self, flush: tier.Flush) -> None:
        """Give these updates: their sum, or each as it came."""
        self._spawn(self._flush(flush))

    def partial_taken(self, taken: tier.PartialTaken) -> None:
        """The sum is durable at the parent."""
        self._spawn(self._partials.drop(taken.session, taken.number))

    def refold(self, refold: tier.Refold) -> None:
        """The sum has tasks that are not this combiner's: the flush that follows names those that are."""
        self._spawn(self._partials.drop(refold.session, refold.number))

    # ---- inside ----

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
        return Brief(common.id, words.work(common, codec), common.accepting, expected, tuple(used), model, codec)

    def _retire(self, number: int) -> None:
        """Close it once no task of it is open."""
        making = self._briefs.pop(number, None)
        if making is not None:
            making.add_done_callback(self._retired)

    def _retired(self, making: "asyncio.Task[Brief]") -> None:
        if not making.cancelled() and making.exception() is None:
            making.result().retired = True
            self._close_idle(making.result())

    def _close_idle(self, brief: Brief) -> None:
        if brief.retired and not brief.tasks:
            brief.close(self._inputs)

    async def _offer(self, one: tier.Assigned) -> None:
        held = self._holdings.get(one.task)
        if held is not None:  # it is answered; the report may not have reached the parent
            self._parent.report([held.report])
            return
        if one.client not in self._here:
            return
        if one.task not in self._tasks:
            if one.common not in self._briefs:
                self._briefs[one.common] = asyncio.create_task(self._brief(self._commons[one.common]))
            brief = await asyncio.shield(self._briefs[one.common])
            self._tasks[one.task] = Known(one.client, brief, one.seed)
            brief.tasks += 1
        work = words.timed(self._tasks[one.task].brief.work, time.monotonic() + one.remaining)
        self._network.offer(Offer(one.task, one.client, one.seed, work))

    def _forget(self, task: str) -> None:
        known = self._tasks.pop(task, None)
        if known is not None:
            known.brief.tasks -= 1
            self._close_idle(known.brief)

    def _verdict(self, client: str, verdict: pb.Verdict) -> None:
        self._forget(verdict.task)
        held = self._holdings.get(verdict.task)
        result_id = verdict.result_id or (held.report.result.result_id if held is not None else "")
        self._holdings.drop(verdict.task)
        self._spool.expire(verdict.task)
        self._network.reply(client, replace(words.verdict(verdict), result_id=result_id))

    async def _flush(self, flush: tier.Flush) -> None:
        async with self._flushes.setdefault(flush.session, asyncio.Lock()):
            here = [share for share in flush.shares if self._has(share)]
            gone = [share.task for share in flush.shares if not self._has(share)]
            if gone:
                self._parent.report(lost=gone)
            if flush.forward:
                for share in here:
                    await self._forward(share.task)
            elif here:
                await self._sum(flush, here)

    def _has(self, share: tier.Share) -> bool:
        held = self._holdings.get(share.task)
        return held is not None and held.report.sha256 == share.sha256

    async def _sum(self, flush: tier.Flush, shares: list[tier.Share]) -> None:
        tasks = [share.task for share in shares]
        one = self._partials.of(flush.session, tasks)
        if one is None:
            order = Order(flush.delta, tuple(flush.sets), tuple(flush.plain), flush.exact)
            with ExitStack() as opened:
                parts = [await self._part(share, opened) for share in shares]
                try:
                    one = await self._partials.make(flush.session, flush.project, flush.round, parts, order)
                except BlobError as error:
                    await self._damaged(tasks, error)
                    return
        await self._parent.deliver(tier.Delivery(partial=words.partial(one)), [(one.path, 0, one.path.stat().st_size)])

    async def _part(self, share: tier.Share, opened: ExitStack) -> Contribution:
        held = self._holdings.get(share.task)
        assert held is not None  # noqa: S101  # _has has looked
        assert held.span is not None  # noqa: S101  # an update has bytes
        span = await self._inputs.use(share.base, self._parent)
        opened.callback(self._inputs.release, share.base)
        base = opened.enter_context(await asyncio.to_thread(Model.open, span))
        return words.contribution(share, held, base)

    async def _damaged(self, tasks: Iterable[str], error: BlobError) -> None:
        """Bytes that cannot be read are asked for again."""
        log.error("a sum cannot be made: %s", error)
        lost = [task for task in tasks if not await asyncio.to_thread(_whole, self._holdings.get(task))]
        for task in lost:
            self._holdings.drop(task)
        self._parent.report(lost=lost)

    async def _forward(self, task: str) -> None:
        held = self._holdings.get(task)
        if held is None or held.span is None:
            return
        result = held.report.result
        first = tier.Delivery(
            forwarded=tier.Forwarded(task=task, result_id=result.result_id, blobs=dict(result.blobs.items()))
        )
        await self._parent.deliver(first, [(Path(held.span.path), held.span.offset, held.span.size)])

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._working.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, StateError):
            log.info("said again once the parent is back: %s", error)
        elif isinstance(error, FedkError | OSError):
            log.error("what the parent asked for failed: %s", error)
        else:
            log.error("a fault of this combiner", exc_info=error)


def _whole(held: Held | None) -> bool:
    """Whether its blobs are still those that were reported."""
    if held is None or held.span is None:
        return False
    try:
        return all(_hash(span) == held.report.result.blobs[name].sha256 for name, span in words.spans(held).items())
    except BlobError:
        return False


def _hash(span: Span) -> bytes:
    digest = hashlib.sha256()
    with Reader(span) as reader:
        for at in range(0, reader.size, READ):
            digest.update(reader.read(at, min(READ, reader.size - at)))
    return digest.digest()
