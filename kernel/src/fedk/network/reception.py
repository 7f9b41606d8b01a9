"""The reception: where results come in, inline on a stream or uploaded beside it, and each gets its answer."""

import asyncio
import logging
from functools import partial
from hashlib import sha256

import grpc

from fedk.aggregation.intake import Facts
from fedk.aggregation.record import record
from fedk.api.codec import Buffer
from fedk.api.errors import BlobError, Refused, StateError
from fedk.blobs.reader import Reader, Span
from fedk.blobs.spool import Spool
from fedk.blobs.upload import Upload
from fedk.network import results
from fedk.network.allowance import Allowance
from fedk.network.awaited import Awaited
from fedk.network.calls import Ended, violated
from fedk.network.doors import AnyDoor
from fedk.network.inflow import ALL, Inflow, Read
from fedk.network.messages import Answer, Refusal
from fedk.network.threads import Threads
from fedk.network.traffic import Traffic
from fedk.network.turns import Turn, Turns
from fedk.network.unpacking import Unpacker
from fedk.rounds.clients import SendFrom
from fedk.rounds.door import OpenTask
from fedk.rounds.states import ROOT
from fedk_protocol.reasons import Reason
from fedk_protocol.v1 import federation_pb2 as pb

SMALL = 64 * 2**10
"""Bytes that are checked on the event loop (0.1 ms): handing them to a thread and back costs more."""

UNPACKED = 16
"""How much larger than on the wire a message is in memory, at worst: many entries of a few bytes each."""

WORDS = 256 * 2**10
"""Bytes of a result beside those of its blobs, so that what waits is not much larger than what came."""

_NOTHING = Facts(sha256().digest(), {}, 0.0, 0.0)  # what is known of a result without blobs
_BASE_GONE = (BlobError, ValueError)  # ValueError: a closed file; the base is closed once its tasks are settled

log = logging.getLogger("fedk.network")


@record(frozen=True, slots=True)
class Incoming:
    """A result whose answer is awaited, and `received` bytes of messages that brought it."""

    client: str
    result: pb.Result
    task: OpenTask
    received: int


class Reception:
    """Checks bytes, puts them into the spool, and lets `rounds` decide. Its calls may raise Ended and StateError."""

    def __init__(
        self, *, door: AnyDoor, spool: Spool, traffic: Traffic, threads: Threads, intake_bytes: int, result_max: int
    ) -> None:
        self._door, self._spool, self._traffic, self._threads = door, spool, traffic, threads
        self._allowance, self._uploads, self._turns = (
            Allowance(intake_bytes, short=door.hurry),
            Allowance(min(ALL, intake_bytes)),
            Turns(),
        )
        self._unpacker, self._result_max = Unpacker(spool, threads), result_max
        self._halves: dict[str, tuple[str, str, Upload]] = {}  # client, result id and file, by task

    async def room(self, result: pb.Result, received: int) -> int:
        """Wait until there is memory for a result that is all here; as many bytes as `inline` gives back.

        Who waits reads nothing more: a client that sends on could fill the memory with results that wait.
        """
        results.check_ids(result)
        rest = received - sum([len(blob.inline) for blob in result.blobs.values()])
        if rest > WORDS:
            raise violated(f"a result of {rest:,} bytes beside its blobs, at most {WORDS:,}")
        held = 2 * received + UNPACKED * rest  # the message, and what the spool holds of it until its sync
        await self._allowance.take(held)
        return held

    def at_once(self, client: str, awaited: Awaited) -> bool:
        """Take a small result that is all here, which hears its answer; False: only `inline` can."""
        result, task = awaited.result, self._door.open_task(client, awaited.result.task)
        if task is None or (task.expected is None and task.kind == "train") or results.is_packed(result):
            return False
        if awaited.received > SMALL or not self._door.notes or not self._turns.begin(result.task):
            return False
        taken = False
        try:
            incoming = Incoming(client, result, task, awaited.received)
            results.check(result, task)
            facts, span = (
                (_NOTHING, None) if self._is_bare(incoming) else self._store(incoming, results.bytes_of(result))
            )
            awaited.arrival = results.arrival(client, result, facts, span, awaited.received)
            taken = self._door.note(awaited.arrival, ROOT, awaited)
        except (Refused, StateError, *_BASE_GONE):
            return False  # `inline` says what is wrong
        except BaseException:  # the stream ends by it, and nobody answers
            self._allowance.give(awaited.held)
            raise
        finally:
            if not taken:
                self._turns.end(result.task)
                self._forget(awaited)
        if taken:
            self._traffic.received(task.session, awaited.received)
        return taken

    def over(self, awaited: Awaited, *, again: bool = False) -> None:
        """What was taken at once has been answered, or is to be taken `again`, by `inline`."""
        self._turns.end(awaited.result.task)
        if not again:
            self._allowance.give(awaited.held)
        self._forget(awaited)

    def _forget(self, awaited: Awaited) -> None:
        if awaited.arrival is not None:
            self._door.drop(awaited.arrival)
            awaited.arrival = None

    async def inline(self, client: str, result: pb.Result, received: int, held: int) -> Answer:
        """Take a result that is all here, for which `room` was had."""
        try:
            if self._door.open_task(client, result.task) is None:  # nobody takes the turn of another client's task
                return await self._known(client, result)
            async with self._turns.take(result.task):
                incoming = await self._begun(client, result, received)
                return await self._inline(incoming) if isinstance(incoming, Incoming) else incoming
        finally:
            self._allowance.give(held)

    async def upload(self, client: str, begin: pb.UploadBegin, received: int, read: Read) -> Answer:
        """Take a result whose bytes are still to be read."""
        result = begin.result
        results.check_ids(result)
        if not result.blobs or any(blob.HasField("inline") for blob in result.blobs.values()):
            raise violated("an upload has blobs, and their bytes follow its begin")
        if self._door.open_task(client, result.task) is None:
            return await self._known(client, result)
        async with self._turns.take(result.task) as turn:
            incoming = await self._begun(client, result, received)
            if not isinstance(incoming, Incoming):
                return incoming
            return await self._upload(incoming, begin.offset, read, turn)

    def cut(self, task: str) -> None:
        """The task is settled: an upload that is still being read is read in vain."""
        self._turns.give_way(task)

    async def _begun(self, client: str, result: pb.Result, received: int) -> Incoming | Answer:
        task = self._door.open_task(client, result.task)  # again: it may have been settled before this one's turn
        if task is None:
            return await self._known(client, result)
        if task.kind == "train" and task.expected is None:
            return _later(result, "the model of this task is not at hand")
        self._traffic.received(task.session, received)
        return Incoming(client, result, task, received)

    # ---- inline ----

    async def _inline(self, incoming: Incoming) -> Answer:
        try:
            results.check(incoming.result, incoming.task)
            facts, span = await self._stored(incoming)
        except Refused as refused:
            return await self._refuse(incoming, refused)
        except _BASE_GONE as error:
            return await self._without_base(incoming, error)
        return await self._take(incoming, facts, span, incoming.received)

    async def _stored(self, incoming: Incoming) -> tuple[Facts, Span | None]:
        if self._is_bare(incoming):
            return _NOTHING, None
        data = results.bytes_of(incoming.result)
        if results.is_packed(incoming.result):
            came = await self._threads.run(self._hashed, incoming, data)
            return await self._unpacker.unpack(incoming.result, incoming.task, Buffer(data), came)
        if len(data) <= SMALL:
            return self._store(incoming, data)
        return await self._threads.run(self._store, incoming, data)

    @staticmethod
    def _is_bare(incoming: Incoming) -> bool:
        return not incoming.result.blobs and incoming.task.expected is None

    def _store(self, incoming: Incoming, data: bytes) -> tuple[Facts, Span]:
        task = incoming.task
        return self._hashed(incoming, data), self._spool.append(task.session, task.round, data, project=task.project)

    def _hashed(self, incoming: Incoming, data: bytes) -> Facts:
        intake = results.intake(incoming.result, incoming.task)
        intake.feed(data)
        facts = intake.finish()
        results.compare(incoming.result, facts, {})
        return facts

    # ---- uploads ----

    async def _upload(self, incoming: Incoming, offset: int, read: Read, turn: Turn) -> Answer:
        try:
            results.check(incoming.result, incoming.task)
            intake = results.intake(incoming.result, incoming.task)
            upload = await self._opened(incoming)
        except Refused as refused:
            return await self._refuse(incoming, refused)
        try:
            if offset != upload.got:
                return SendFrom(incoming.result.task, incoming.result.result_id, upload.got)
            inflow = Inflow(intake, upload, allowance=self._uploads, threads=self._threads)
            return await self._flow(incoming, inflow, upload, read, turn)
        finally:
            await self._threads.run(upload.close)

    async def _opened(self, incoming: Incoming) -> Upload:
        result, task = incoming.result, incoming.task
        size = sum(results.sizes(result).values())
        if size > self._result_max:
            raise Refused(Reason.TOO_LARGE, f"{size:,} bytes, the largest result is {self._result_max:,}")
        await self._forget_halves(result)
        begun = partial(self._half, incoming)  # also where this call is gone by then
        upload = await self._threads.make(
            begun, self._spool.upload, task.session, result.task, result.result_id, size, project=task.project
        )
        begun(upload)
        if self._door.open_task(incoming.client, result.task) is None:
            await self._forget_halves(result)  # settled while its file was made: nobody else would delete it
        return upload

    def _half(self, incoming: Incoming, upload: Upload) -> None:
        result = incoming.result
        _, result_id, other = self._halves.get(result.task, ("", result.result_id, upload))
        self._halves[result.task] = (incoming.client, result.result_id, upload)
        if result_id != result.result_id:
            other.discard()

    async def _forget_halves(self, result: pb.Result) -> None:
        """One half upload an open task, so that no client fills the spool."""
        for task, half in list(self._halves.items()):
            client, result_id, upload = half
            if self._door.open_task(client, task) is None:
                del self._halves[task]
                self._spool.expire(task)
            elif task == result.task and result_id != result.result_id:
                del self._halves[task]
                await self._threads.run(upload.discard)  # nobody writes it: this is the task's turn

    async def _flow(self, incoming: Incoming, inflow: Inflow, upload: Upload, read: Read, turn: Turn) -> Answer:
        try:
            facts = await self._passed(incoming, inflow, read, turn)
            facts, span = await self._kept(incoming, facts, upload)
        except Refused as refused:
            if refused.reason == Reason.CANCELLED:  # its file was closed: not the result is refused, this call is over
                return await self._broken_off(incoming, Ended(grpc.StatusCode.ABORTED, refused.detail))
            if refused.reason != Reason.SPOOL_FULL:
                self._halves.pop(incoming.result.task, None)
                await self._threads.run(upload.discard)
            return await self._refuse(incoming, refused)
        except Ended as ended:
            return await self._broken_off(incoming, ended)
        except _BASE_GONE as error:
            return await self._without_base(incoming, error)
        self._halves.pop(incoming.result.task, None)
        return await self._take(incoming, facts, span, incoming.received + inflow.received)

    async def _kept(self, incoming: Incoming, facts: Facts, upload: Upload) -> tuple[Facts, Span]:
        """Durable, as it is folded."""
        if not results.is_packed(incoming.result):
            await upload.sync()  # here, or a batch of small results would wait for it
            return facts, upload.span
        with Reader(upload.span) as source:
            facts, span = await self._unpacker.unpack(incoming.result, incoming.task, source, facts)
        await self._threads.run(upload.discard)
        return facts, span

    async def _passed(self, incoming: Incoming, inflow: Inflow, read: Read, turn: Turn) -> Facts:
        try:
            facts, late = await inflow.run(read, turn)
        finally:
            self._traffic.received(incoming.task.session, inflow.received)
        results.compare(incoming.result, facts, late)
        return facts

    # ---- answers ----

    async def _take(self, incoming: Incoming, facts: Facts, span: Span | None, received: int) -> Answer:
        arrival = results.arrival(incoming.client, incoming.result, facts, span, received)
        taking = asyncio.create_task(self._door.take(arrival))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            await asyncio.wait({taking})  # in its turn: the same result that comes again must not find its file
            raise

    async def _known(self, client: str, result: pb.Result) -> Answer:
        """The task takes no answer, or no more: what was said of it, again."""
        answer = await self._door.answer(client, result.task, result.result_id)
        return answer or _later(result, "its session takes no results at the moment")

    async def _refuse(self, incoming: Incoming, refused: Refused) -> Answer:
        result = incoming.result
        if refused.reason == Reason.SPOOL_FULL:
            return Refusal(result.task, result.result_id, refused.reason, refused.detail)
        return await self._door.refuse(incoming.client, result.task, result.result_id, refused)

    async def _broken_off(self, incoming: Incoming, ended: Ended) -> Answer:
        if self._door.open_task(incoming.client, incoming.result.task) is not None:
            raise ended
        return await self._known(incoming.client, incoming.result)

    async def _without_base(self, incoming: Incoming, error: Exception) -> Answer:
        client, result = incoming.client, incoming.result
        if self._door.open_task(client, result.task) is None:
            return await self._known(client, result)
        log.error("task %s: the model that it was given cannot be read: %s", result.task, error)
        return _later(result, "the server cannot read the model of this task now")


def _later(result: pb.Result, detail: str) -> Refusal:
    return Refusal(result.task, result.result_id, Reason.DRAINING, detail)
