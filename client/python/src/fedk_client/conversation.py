"""One stream, from Hello to its end: what the server says, and what this client does about it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import grpc

from fedk_client.agenda import Entry
from fedk_client.assignment import Assignment
from fedk_client.backoff import draw, pause
from fedk_client.delivery import Delivery
from fedk_client.desk import AT_HAND, Desk
from fedk_client.errors import Superseded, TurnedAway
from fedk_client.jobs import Jobs
from fedk_client.journal import plain
from fedk_client.kept import Kept
from fedk_client.redelivery import Redelivery
from fedk_client.stream import Stream
from fedk_client.transfer import InputLost, Wire
from fedk_protocol.codec import Safetensors
from fedk_protocol.layout import shown
from fedk_protocol.metadata import TICKET
from fedk_protocol.reasons import Reason, Scope
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1.federation_pb2_grpc import FederationStub

log = logging.getLogger("fedk_client")

_TAKEN = (pb.OUTCOME_COMMITTED, pb.OUTCOME_RECORDED)
_REFUSALS = frozenset(reason for reason in Reason if reason.scope is Scope.REFUSED)  # what this client should look at


class Redirected(Exception):
    """Another server serves this client."""

    def __init__(self, redirect: pb.Redirect) -> None:
        super().__init__(f"sent on to {', '.join(redirect.addresses) or 'nowhere'}")
        self.addresses, self.ticket = tuple(redirect.addresses), redirect.ticket


class Deferred(Exception):
    """The server will have this client, but not now."""


class Conversation:
    """Uses the desk, and leaves there what the next stream needs."""

    def __init__(self, channel: grpc.aio.Channel, desk: Desk, *, ticket: str = "") -> None:
        self._channel, self._desk = channel, desk
        self._stream = Stream(FederationStub(channel), [(TICKET, ticket)] if ticket else [])
        self._greeting = desk.greeting()
        self._redelivery = Redelivery(self._greeting)
        self._wire = Wire(channel, desk.welcome)
        self._jobs = Jobs(self._stream.cancel)
        self._delivery = Delivery(desk, self._stream, self._wire, self._jobs, self._hear)
        self._hearers: dict[str, Callable[[Any], Awaitable[None]]] = {
            "welcome": self._on_welcome,
            "task": self._on_task,
            "cancel": self._on_cancel,
            "send_from": self._on_send_from,
            "receipt": self._on_receipt,
            "refusal": self._on_refusal,
            "verdict": self._on_verdict,
            "redirect": self._on_redirect,
            "drain": self._on_drain,
            "superseded": self._on_superseded,
        }
        self._kinds = [one for one in desk.hello.capabilities if ":" not in one]  # the others are codecs
        self._goodbye, self._draining = "", False
        self.welcomed = False

    async def hold(self) -> None:
        """Until the stream ends. Raises grpc.RpcError, Redirected, Deferred, TurnedAway, Superseded."""
        try:
            self._stream.send(pb.ClientMessage(hello=self._greeting))
            while words := await self._stream.read():
                for word in words:
                    await self._stream.room()
                    if kind := word.WhichOneof("kind"):
                        await self._hear(kind, getattr(word, kind))
        except asyncio.CancelledError:
            if self._jobs.fault:
                raise self._jobs.fault from None
            raise
        finally:
            self._jobs.close()
            self._stream.close()

    def leave(self, reason: str) -> None:
        """Say goodbye, once welcomed; the server ends the stream then."""
        self._goodbye = reason
        if self.welcomed:
            self._stream.send(pb.ClientMessage(goodbye=pb.Goodbye(reason=reason)))
            self._stream.finish()

    def answer(self, kept: Kept) -> None:
        """Send a result that was made while this stream is open."""
        if self.welcomed:
            self._delivery.send(kept)

    def mention(self, message: pb.ClientMessage) -> None:
        """Send a live word that may be dropped."""
        if self.welcomed:
            self._stream.mention(message)

    def say_failures(self) -> None:
        """Send the failures that wait for a stream."""
        if self.welcomed:
            for failure in self._desk.failures.values():
                self._stream.send(pb.ClientMessage(failure=failure))
            self._desk.failures.clear()

    async def _hear(self, kind: str, message: Any) -> None:
        await self._hearers[kind](message)

    # ---- the connection ----

    async def _on_welcome(self, welcome: pb.Welcome) -> None:
        if self.welcomed:
            return
        opening = self._opening()
        self._desk.welcome, self.welcomed = welcome, True
        self._wire = Wire(self._channel, welcome)
        self._delivery = Delivery(self._desk, self._stream, self._wire, self._jobs, self._hear)
        self._redelivery.begin(opening)
        if self._goodbye:
            self.leave(self._goodbye)
            return
        for kept in self._desk.outbox:
            if kept.result_id not in self._redelivery.listed:  # made since the Hello
                self._delivery.send(kept)
        self.say_failures()
        for entry in self._desk.agenda.entries():
            self._fetch(entry)

    def _opening(self) -> str:
        if self._desk.has_joined:
            if not self._redelivery.listed:
                log.info("joined again")
            return "joined again, "
        hello, count = self._greeting, len(self._greeting.outbox)
        todo = f"{results(count)} kept" if count else "nothing to do yet"
        log.info("joined as %s (instance %s), %s", hello.name, hello.instance[:4], todo)
        return ""

    async def _on_redirect(self, redirect: pb.Redirect) -> None:
        raise Redirected(redirect)

    async def _on_drain(self, drain: pb.Drain) -> None:
        if not self._draining:
            log.info("the server is about to stop%s", f": {plain(drain.reason)}" if drain.reason else "")
        self._draining = True

    async def _on_superseded(self, superseded: pb.Superseded) -> None:
        name = self._greeting.name
        newer = plain(superseded.instance[:4])
        raise Superseded(
            f'a newer process joined as "{name}" (instance {newer}): this one stops. Two that are to run side by side '
            "need two names"
        )

    # ---- tasks ----

    async def _on_task(self, task: pb.Task) -> None:
        desk = self._desk
        if kept := desk.outbox.find(task.id):
            self._delivery.send(kept)
        elif task.id in desk.agenda:
            log.debug("task %s came again, and is being worked on", task.id)
        elif unsupported := _unsupported(task, self._kinds):
            self._fail(task.id, Reason.NOT_SUPPORTED, unsupported)
        elif len(desk.agenda) >= AT_HAND:
            detail = f"{AT_HAND} tasks are at hand, and this client does one at a time"
            self._fail(task.id, Reason.NOT_SUPPORTED, detail)
        else:
            self._fetch(desk.agenda.add(task))

    async def _on_cancel(self, cancel: pb.Cancel) -> None:
        desk = self._desk
        if (entry := desk.agenda.find(cancel.task)) and not entry.cancelled:
            log.info("%s called off: %s", label(entry.task), plain(cancel.reason))
        if desk.agenda.cancel(cancel.task):
            self._jobs.stop(cancel.task)
            self._fail(cancel.task, Reason.CANCELLED, cancel.reason)
        elif (kept := desk.outbox.find(cancel.task)) and self._jobs.stop(cancel.task):  # not yet sent
            await self._rejected(kept.task, kept.result_id, cancel.reason, "")
            self._fail(cancel.task, Reason.CANCELLED, cancel.reason)

    def _fetch(self, entry: Entry) -> None:
        if entry.ready:
            return
        try:
            inputs = self._desk.inputs.inline(entry.task.inputs)
        except InputLost as error:
            self._lack(entry.task, error)
            return
        if inputs is None:
            self._jobs.start(entry.task.id, self._bring(entry))
        else:
            self._deliver(entry, inputs)

    async def _bring(self, entry: Entry) -> None:
        self._trim()
        try:
            inputs = await self._inputs(entry.task)
        except InputLost as error:
            self._lack(entry.task, error)
            return
        self._jobs.finish(entry.task.id)  # user code may answer before this returns, and its result must find no job
        self._deliver(entry, inputs)

    def _lack(self, task: pb.Task, error: InputLost) -> None:
        self._desk.agenda.finish(task.id)
        self._fail(task.id, Reason.BAD_HASH, str(error))

    def _deliver(self, entry: Entry, inputs: Mapping[str, bytes | memoryview]) -> None:
        entry.assignment = Assignment.of(entry.task, inputs, entry.deadline)
        entry.ready = True
        self._trim()
        self._desk.ready()

    def _trim(self) -> None:
        """What no task wants any more, so that what comes next can stand there."""
        if self._desk.inputs:
            self._desk.inputs.trim(self._desk.wanted)

    async def _inputs(self, task: pb.Task) -> dict[str, bytes | memoryview]:
        while True:
            try:
                return await self._desk.inputs.fetch(self._wire, task.inputs)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                    raise  # another try would be the same
                log.debug("inputs of task %s: %s", task.id, error.details())
            await pause(draw(self._desk.delays))  # the stream lives, or its end cancels this

    def _fail(self, task: str, reason: Reason, detail: str) -> None:
        self._desk.fail(pb.Failure(task=task, reason=reason, detail=detail))
        self.say_failures()

    # ---- results ----

    async def _on_send_from(self, told: pb.SendFrom) -> None:
        kept = self._desk.outbox.find(told.task)
        if kept and kept.result_id == told.result_id:
            self._redelivery.sent(kept.result_id)
            self._delivery.send_from(kept, int(told.offset))

    async def _on_receipt(self, receipt: pb.Receipt) -> None:
        self._redelivery.answered(receipt.result_id, "receipt")

    async def _on_refusal(self, refusal: pb.Refusal) -> None:
        if not refusal.task:
            if refusal.retry:
                raise Deferred(_words(refusal.reason, refusal.detail))
            raise TurnedAway(plain(refusal.reason), plain(refusal.detail))
        if not refusal.retry:
            await self._rejected(refusal.task, refusal.result_id, refusal.reason, refusal.detail)
        elif kept := self._desk.outbox.find(refusal.task):
            words = _words(refusal.reason, refusal.detail)
            log.info("%s not taken now: %s; it is kept and sent again", label(kept), words)
            self._delivery.send_later(kept)

    async def _on_verdict(self, verdict: pb.Verdict) -> None:
        if verdict.outcome not in _TAKEN:
            await self._rejected(verdict.task, verdict.result_id, verdict.reason, verdict.detail)
            return
        committed = verdict.outcome == pb.OUTCOME_COMMITTED
        await self._settle(verdict.task, verdict.result_id, committed=committed)
        self._redelivery.answered(verdict.result_id, "committed" if committed else "recorded")

    async def _rejected(self, task: str, result_id: str, reason: str, detail: str) -> None:
        if kept := await self._settle(task, result_id):
            if reason in _REFUSALS:
                log.warning("%s refused: %s; this client is asked again", label(kept), _words(reason, detail))
            else:
                log.info("%s not used: %s", label(kept), _words(reason, detail))
        self._redelivery.answered(result_id, shown(reason))

    async def _settle(self, task: str, result_id: str, *, committed: bool = False) -> Kept | None:
        outbox = self._desk.outbox
        if outbox.find(task):  # whichever result it is: the verdict is the task's
            self._jobs.give_up(task)  # a try that comes later, or is under way, would find no bytes
            self._desk.resting.begin()
        if not outbox.slow:
            return outbox.settle(task, result_id, committed=committed)
        # in a thread, and awaited, so that a later task sees the state that this promotes
        return await asyncio.to_thread(outbox.settle, task, result_id, committed=committed)


def _words(reason: str, detail: str) -> str:
    return plain(f"{reason}, {detail}" if detail else reason)


def label(one: Kept | pb.Task) -> str:
    """A result or its task, for a person: "digits-1 round 7"."""
    name = shown(one.session)
    return f"{name} round {one.round}" if one.round else f"{name} initial model"


def results(count: int) -> str:
    """1 result, 2 results."""
    return f"{count} result{'s' if count != 1 else ''}"


def _unsupported(task: pb.Task, kinds: Collection[str]) -> str:
    if task.kind not in kinds:
        return f'kind "{task.kind}": this app has {", ".join(kinds)}'
    for name in task.inputs:  # a map's items() are made in Python, and dear
        blob = task.inputs[name]
        if blob.codec not in ("", Safetensors.name):
            return f'codec "{blob.codec}" of {name}: this client reads {Safetensors.name}'
        if blob.representation == pb.REPRESENTATION_DELTA:
            return f"{name} as a delta: this client reads full blobs"
    return ""
