"""The uplink: a combiner's stream to its parent, and its calls. Dials again, with full jitter, for as long as it lives."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from fedk.api.errors import BlobError, FedkError, NotFound, Refused, StateError
from fedk.blobs.reader import Reader, Span
from fedk.combiner import words
from fedk.combiner.batches import batches
from fedk.combiner.relay import Relay
from fedk.combiner.words import TOGETHER
from fedk.network.calls import TIER
from fedk.network.listener import Keepalive
from fedk.network.roll import Roll
from fedk.rounds.clients import Arrival, Joined, Joining, Receipt, Redirected, Reply, SendFrom
from fedk.rounds.inbox import ASIDE
from fedk_protocol.metadata import TICKET
from fedk_protocol.reasons import Reason
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier
from fedk_protocol.version import VERSION

BASE, CAP = 0.2, 5.0
"""Seconds of back-off: few servers dial, and many clients wait for each."""

CALL = 30.0
"""Seconds for a call that moves no bytes, and for the answer to Attach."""

CHATTER = 1_000
"""Live lines that wait while the parent is slow, before the oldest are dropped."""

NAMED = 4_096
"""Clients in one message, who come and who go: 1.2 MB at most."""

PARCEL = 2**20
"""Bytes of what is said or reported in one message, half of what every parent takes: what is larger is divided."""

DATA = 512 * 2**10

M = TypeVar("M", bound=Message)
log = logging.getLogger("fedk.combiner")


class Uplink:
    """Implements `fedk.combiner.parent.Parent`. What is said while there is no stream is said again once there is one."""

    def __init__(self, addresses: Iterable[str], attach: tier.Attach, *, keepalive: Keepalive = Keepalive()) -> None:  # noqa: B008  # frozen
        self._addresses, self._attach = tuple(addresses), attach
        self._keepalive = keepalive
        self._relay: Relay | None = None
        self._work: Callable[[], tier.Work] = tier.Work
        self._changed = False
        self._channel: grpc.aio.Channel | None = None
        self._ticket = ""
        self._stream_now: object = None
        self._words: deque[tier.Upward] = deque()
        self._roll = Roll()
        self._sent: list[str] = []
        self._aside: dict[str, None] = {}  # tasks that are sent, which their results may say
        self._due: asyncio.TimerHandle | None = None  # when they are said
        self._chatter: deque[tier.Said] = deque(maxlen=CHATTER)
        self._news = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self.attached = asyncio.Event()
        """Set while there is a stream."""
        self.refusal = ""
        """Why the parent does not take this combiner; empty while it does."""

    # ---- life ----

    def start(self, relay: Relay, work: Callable[[], tier.Work]) -> None:
        """Dial, and go on dialling. `work` says how much there is to do, and who is below."""
        self._relay, self._work = relay, work
        self._running = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Hang up."""
        if self._due is not None:
            self._due.cancel()
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        failures = 0
        while True:
            address = self._addresses[failures % len(self._addresses)]
            try:
                await self._stream(address)
            except grpc.aio.AioRpcError as error:
                self._ended(address, error)
            except TimeoutError:
                self._lost(address, f"it has not answered within {CALL:g} s")
            except (ValueError, DecodeError) as error:
                self._lost(address, f"it has said what does not fit together: {error}")
            except asyncio.CancelledError:  # also gRPC's word for a call whose own words could not be made
                if self._running is None or self._running.cancelling():
                    raise
                self._lost(address, "a word for it could not be made")  # gRPC has kept the reason
            except Exception as error:  # this stream ends by it, and the next one says all again: nobody else dials
                log.exception("parent.lost by a fault of this combiner")
                self._lost(address, f"a fault of this combiner: {type(error).__name__} {error}")
            was_up = self.attached.is_set()
            self.attached.clear()
            self._ticket = ""
            failures = 1 if was_up else failures + 1
            ceiling = min(CAP, BASE * 2 ** min(failures, 10))
            await asyncio.sleep(random.uniform(0, ceiling))  # noqa: S311  # jitter

    def _ended(self, address: str, error: grpc.aio.AioRpcError) -> None:
        if error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION):
            self._lost(address, f"it does not take this combiner: {error.details()}")
        elif self.attached.is_set() or not self.refusal:  # one that stays away is said once
            self._lost(address, f"{error.code().name} {error.details()}", logging.WARNING)

    def _lost(self, address: str, why: str, level: int = logging.ERROR) -> None:
        self.refusal = f"{address}: {why}"
        log.log(level, "parent.lost %s", self.refusal)

    async def _stream(self, address: str) -> None:
        async with self._dialled(address) as channel:
            self._words.clear()
            self._roll = Roll()
            self._sent.clear()
            self._aside.clear()
            attach: Any = channel.stream_stream(f"/{TIER}/Attach")
            self._stream_now = now = object()
            call = attach(self._spoken(now))
            async with asyncio.timeout(CALL):  # a parent may be alive, and say nothing
                first = await call.read()
            if not isinstance(first, bytes):
                raise await _ended(call)
            word = tier.Downward.FromString(first)
            self._channel, self._ticket = channel, word.attached.ticket
            self.refusal = ""
            self.attached.set()
            log.info("parent.attached %s", address)
            assert self._relay is not None  # noqa: S101  # start() sets it
            self._relay.attached()
            self.changed()
            try:
                while isinstance(raw := await call.read(), bytes):
                    self._hear(tier.Downward.FromString(raw))
                raise await _ended(call)
            finally:
                self._channel = None
                call.cancel()

    def _dialled(self, address: str) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(
            address,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.keepalive_time_ms", int(self._keepalive.every * 1000)),
                ("grpc.keepalive_timeout_ms", int(self._keepalive.patience * 1000)),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.use_local_subchannel_pool", 1),  # or another attempt inherits this one's back-off
            ],
        )

    async def _spoken(self, stream: object) -> AsyncIterator[bytes]:
        """What goes up, in order, on the stream of now: one that has broken off takes no words from the next."""
        version_ = pb.Version(major=VERSION[0], minor=VERSION[1])
        own = tier.Attach(version=version_, software=f"fedk {version('fedk')}")
        own.MergeFrom(self._attach)
        yield tier.Upward(attach=own).SerializeToString()
        while stream is self._stream_now:
            if (word := self._next()) is not None:
                yield word.SerializeToString()
            else:
                self._news.clear()
                await self._news.wait()

    def _next(self) -> tier.Upward | None:
        if self._words:
            return self._words.popleft()
        if not self.attached.is_set() or not (self._sent or self._chatter or self._changed):
            return None
        work = self._work()
        work.sent.extend(words.sent(self._sent[: words.SENT]))
        work.said.extend(self._lines(work.ByteSize()))
        self._sent, self._changed = self._sent[words.SENT :], False
        return tier.Upward(work=work)

    def _lines(self, size: int) -> Iterator[tier.Said]:
        many = 0
        while self._chatter and many < TOGETHER and (size < PARCEL or not many):
            one = self._chatter.popleft()
            size, many = size + one.ByteSize(), many + 1
            yield one

    def _say(self, word: tier.Upward) -> None:
        if self.attached.is_set():
            self._words.append(word)
            self._news.set()

    def _hear(self, word: tier.Downward) -> None:
        assert self._relay is not None  # noqa: S101  # start() sets it
        match word.WhichOneof("kind"):
            case "relay":
                self._relay.relay(word.relay.common, self._asked(word.relay))
            case "answers":
                self._relay.answers(word.answers)
            case "flush":
                self._relay.flush(words.flush(word.flush))
            case "partial_taken":
                self._relay.partial_taken(word.partial_taken)
            case "refold":
                self._relay.refold(word.refold)
            case "draining":
                self._relay.draining(word.draining)
            case "unreached":
                self._relay.unreached(word.unreached)

    def _asked(self, relay: tier.Relay) -> list[words.Asked]:
        return [one for assigned in relay.tasks for one in words.asked(assigned, self._roll.name)]

    # ---- fedk.combiner.parent.Parent ----

    @property
    def is_here(self) -> bool:
        """Whether there is a stream to it."""
        return self.attached.is_set()

    def changed(self) -> None:
        """What is said of this combiner and of those below it has changed."""
        self._changed = True
        self._news.set()

    def members(self, here: Iterable[tier.Present] = (), gone: Iterable[tier.Present] = ()) -> None:
        """Who is connected here, and who is no more."""
        named, left = list(here), list(gone)
        for at in range(0, max(len(named), len(left), 1), NAMED):
            word = tier.Members(here=named[at : at + NAMED], gone=left[at : at + NAMED])
            if self.attached.is_set():
                self._roll.enter(one.client for one in word.here)
            self._say(tier.Upward(members=word))

    def report(self, held: Iterable[Arrival] = (), lost: Iterable[str] = ()) -> None:
        """Results that are durable here; tasks whose results are gone."""
        reports, gone = list(held), list(lost)
        for one in reports:
            self._aside.pop(one.task, None)
        for at in range(0, len(gone), words.SENT):
            self._say(tier.Upward(reports=tier.Reports(lost=gone[at : at + words.SENT])))
        for at in range(0, len(reports), TOGETHER):
            for part in self._parts(reports[at : at + TOGETHER]):
                self._say(tier.Upward(reports=part))

    def _parts(self, reports: Sequence[Arrival]) -> Iterator[tier.Reports]:
        """As few messages as may be."""
        whole, half = tier.Reports(held=batches(reports, self._roll.number)), len(reports) // 2
        if half and whole.ByteSize() > PARCEL:
            yield from self._parts(reports[:half])
            yield from self._parts(reports[half:])
        else:
            yield whole

    def declined(self, one: tier.Declined) -> None:
        """A result that was not taken, or a client's failure."""
        self._say(tier.Upward(reports=tier.Reports(declined=[one])))

    def sent(self, task: str, *, soon: bool) -> None:
        """The task is on its client's stream; unless `soon`, its result may say so."""
        if soon:
            self._sent.append(task)
            self._news.set()
            return
        self._aside[task] = None
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(ASIDE, self._overdue)

    def _overdue(self) -> None:
        self._due = None
        self._sent.extend(self._aside)
        self._aside.clear()
        self._news.set()

    def said(self, one: tier.Said) -> None:
        """A live curve or a line; may be dropped."""
        self._chatter.append(one)
        self._news.set()

    async def join(self, joining: Joining) -> Joined:
        """Who a client is. Refused, Redirected, StateError: the parent is away."""
        request = tier.JoinRequest(hello=_hello(joining), ticket=joining.ticket)
        reply = await self._ask("Join", request, tier.JoinReply)
        if reply.HasField("redirect"):
            raise Redirected(list(reply.redirect.addresses), reply.redirect.ticket)
        if reply.HasField("refusal"):
            raise Refused(reply.refusal.reason, reply.refusal.detail)
        return Joined(reply.client, tuple(word for one in reply.replies if (word := _reply(one)) is not None))

    async def ask(self, client: str, task: str, result_id: str) -> Reply | None:
        """What was said of a result. StateError: the parent is away."""
        request = tier.AskRequest(client=client, task=task, result_id=result_id)
        return _reply(await self._ask("Ask", request, pb.UploadReply))

    async def fetch(self, sha256: bytes, write: Callable[[bytes], None]) -> None:
        """The bytes of a blob. StateError: the parent is away; NotFound."""
        call: Any = self._up().unary_stream(f"/{TIER}/Fetch")
        request = pb.BlobRequest(sha256=sha256).SerializeToString()
        try:
            async for raw in call(request, metadata=self._metadata()):
                await asyncio.to_thread(write, pb.Chunk.FromString(raw).data)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                raise NotFound(error.details() or "") from error
            raise _away(error) from error

    async def deliver(self, first: tier.Delivery, files: Iterable[tuple[Path, int, int]]) -> None:
        """Bytes that it asked for. StateError: the parent is away; Refused: it does not take them now; BlobError: it does
        not take these, or they cannot be read.
        """
        channel, unread = self._up(), list[BlobError]()
        call: Any = channel.stream_unary(f"/{TIER}/Deliver")
        try:
            await call(_delivery(first, files, unread), metadata=self._metadata())
        except asyncio.CancelledError:  # also gRPC's word for a call whose own words could not be made
            if not unread or (task := asyncio.current_task()) is None or task.cancelling():
                raise
            raise unread[0] from None
        except grpc.aio.AioRpcError as error:
            raise _not_taken(error) if self._channel is channel else _away(error) from error

    def _up(self) -> grpc.aio.Channel:
        if self._channel is None:
            raise StateError("the parent of this combiner is away")
        return self._channel

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return ((TICKET, self._ticket),)

    async def _ask(self, method: str, request: Message, kind: type[M]) -> M:
        call: Any = self._up().unary_unary(f"/{TIER}/{method}")
        try:
            raw = await call(request.SerializeToString(), metadata=self._metadata(), timeout=CALL)
        except grpc.aio.AioRpcError as error:
            raise _away(error) from error
        return kind.FromString(raw)


async def _delivery(
    first: tier.Delivery, files: Iterable[tuple[Path, int, int]], unread: list[BlobError]
) -> AsyncIterator[bytes]:
    yield first.SerializeToString()
    try:
        for path, offset, size in files:
            with Reader(Span(str(path), offset, size)) as reader:
                for at in range(0, size, DATA):
                    data = await asyncio.to_thread(reader.read, at, min(DATA, size - at))
                    yield tier.Delivery(data=data).SerializeToString()
    except BlobError as error:
        unread.append(error)
        raise


async def _ended(call: Any) -> grpc.aio.AioRpcError:
    code, details = await call.code(), await call.details()
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


def _away(error: grpc.aio.AioRpcError) -> StateError:
    return StateError(f"the parent of this combiner: {error.code().name} {error.details()}")


def _not_taken(error: grpc.aio.AioRpcError) -> FedkError:
    """By a parent that is there."""
    text = f"the parent of this combiner does not take it: {error.code().name} {error.details()}"
    if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
        return BlobError(text)
    full = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return Refused(Reason.SPOOL_FULL if full else Reason.DRAINING, text)


def _hello(joining: Joining) -> pb.Hello:
    return pb.Hello(
        version=pb.Version(major=VERSION[0], minor=VERSION[1]),
        project=joining.project,
        name=joining.name,
        instance=joining.instance,
        attributes=joining.attributes,
        capabilities=joining.capabilities,
        outbox=[pb.Kept(task=k.task, result_id=k.result_id, sha256=k.sha256, size=k.size) for k in joining.outbox],
        software=joining.software,
    )


def _reply(word: pb.UploadReply) -> Reply | None:
    match word.WhichOneof("kind"):
        case "receipt":
            return Receipt(word.receipt.task, word.receipt.result_id)
        case "send_from":
            return SendFrom(word.send_from.task, word.send_from.result_id, word.send_from.offset)
        case "verdict":
            return words.verdict(word.verdict)
    return None
