"""A member: one connected client. What `rounds` asks of it goes on its stream, what it says goes to `rounds`."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Literal

import grpc

from fedk.network import sayings
from fedk.network.agenda import Agenda
from fedk.network.awaited import Awaited
from fedk.network.calls import Context, Ended, parsed, violated
from fedk.network.doors import AnyDoor
from fedk.network.hello import ID
from fedk.network.messages import Answer, Tasks, said, settles
from fedk.network.pace import Pace
from fedk.network.reception import Reception
from fedk.network.stream import Message, Stream
from fedk.network.traffic import Traffic
from fedk.rounds.clients import Offer, Receipt
from fedk.rounds.states import session_of
from fedk_protocol.v1 import federation_pb2 as pb

RECEIPT = 1.0
"""Seconds that a receipt waits for other words: the client needs it for nothing but to know."""


class Member:
    """`held` are the tasks that the client has brought with it; `changed` is called when it may have become idle."""

    def __init__(
        self,
        client: str,
        instance: str,
        context: Context,
        *,
        capacity: int,
        also: bool,
        held: Iterable[str],
        door: AnyDoor,
        reception: Reception,
        tasks: Tasks,
        traffic: Traffic,
        changed: Callable[[], None],
    ) -> None:
        self.client, self.instance = client, instance
        self.cause: Literal["lost", "goodbye"] = "lost"
        self.agenda = Agenda(capacity, held)
        self._door, self._reception, self._tasks, self._traffic = door, reception, tasks, traffic
        self._changed = changed
        self._stream = Stream(context, self._next_task, also=also)
        self._draining = False
        self._slots = asyncio.Semaphore(capacity)  # results of one client that are answered at a time
        self._awaited, self._quiet = 0, asyncio.Event()  # results that have no answer yet
        self._answering: set[asyncio.Task[None]] = set()
        self._chatter = Pace(rate=50, burst=200)  # far beyond a curve that a person follows

    @property
    def busy(self) -> bool:
        """Whether it has an answer to give, or is being answered."""
        return bool(self.agenda.active or self._awaited)

    async def serve(self) -> None:
        """Until its stream ends. Raises Ended."""
        await self._stream.run(self._listen())

    # ---- to the client ----

    def offer(self, offer: Offer) -> None:
        """Queue a task; one that the client has already is not sent twice."""
        if self.agenda.offer(offer):
            self._stream.wake()
        else:
            self._door.sent(offer.task)

    def cancel(self, task: str, reason: str) -> None:
        """Take a task back."""
        if self.agenda.withdraw(task):
            self.say(cancel=pb.Cancel(task=task, reason=reason))

    def reply(self, answer: Answer) -> None:
        """Say what became of a result."""
        data, session = said(answer), session_of(answer.task)
        if session in self._traffic:  # what else a client may name is not a session
            self._traffic.sent(session, len(data))
        self._stream.say(data, patience=RECEIPT if isinstance(answer, Receipt) else 0.0)
        if settles(answer):
            self.done(answer.task)

    def done(self, task: str) -> None:
        """The client is free of this task."""
        self.agenda.done(task)
        if self.agenda.waiting:
            self._stream.wake()
        self._changed()

    def say(self, **message: Any) -> None:
        """Queue one message: `say(welcome=…)`."""
        self._stream.say(pb.ServerMessage(**message).SerializeToString())

    def drain(self) -> None:
        """Send no further task."""
        self._draining = True
        self.say(drain=pb.Drain(reason="the server is about to stop"))

    def supersede(self, instance: str) -> None:
        """A newer stream of this client has taken over."""
        if instance == self.instance:
            self._stream.end(Ended(grpc.StatusCode.ABORTED, "this client has a newer stream"))
            return
        self.say(superseded=pb.Superseded(instance=instance))
        self._stream.end(Ended(grpc.StatusCode.ABORTED, "superseded: a newer process has this name"))

    def redirect(self, addresses: Iterable[str], ticket: str) -> None:
        """Another server serves this client."""
        self.say(redirect=pb.Redirect(addresses=addresses, ticket=ticket))
        self._stream.end(Ended(grpc.StatusCode.UNAVAILABLE, f"redirected to {', '.join(addresses)}"))

    def dismiss(self) -> None:
        """The server stops."""
        self._stream.end(Ended(grpc.StatusCode.UNAVAILABLE, "the server has stopped"))

    def _next_task(self) -> Message | None:
        offer = None if self._draining else self.agenda.next()
        if offer is None:
            return None
        parts, task, session = self._tasks.message(offer), offer.task, offer.work.session

        def written() -> None:
            self._traffic.sent(session, sum(map(len, parts)))
            self._door.sent(task)

        return Message(parts, written)

    # ---- from the client ----

    async def _listen(self) -> None:
        while self.cause == "lost" and (raw := await self._stream.read()) is not None:
            await self._hear(parsed(pb.ClientMessage, raw), len(raw))
        if self.cause == "goodbye" and self._awaited:  # what it sent before it left still counts
            self._quiet.clear()
            await self._quiet.wait()

    async def _hear(self, message: pb.ClientMessage, size: int) -> None:
        match message.WhichOneof("kind"):
            case "result":
                await self._slots.acquire()
                room = await self._reception.room(message.result, size)
                awaited = Awaited(self, message.result, size, room)
                taken = self._reception.at_once(self.client, awaited)
                self._awaited += 1
                if not taken:
                    self._answer(awaited)
            case "failure":
                self._fail(message.failure)
            case "progress" if self._chatter.allows():
                self._progress(message.progress)
            case "log" if self._chatter.allows():
                self._log(message.log)
            case "goodbye":
                self.cause = "goodbye"
            case "hello":
                raise violated("Hello is said once, at the beginning")

    def _answer(self, awaited: Awaited) -> None:
        answering = asyncio.create_task(self._take(awaited.result, awaited.received, awaited.held))
        self._answering.add(answering)
        answering.add_done_callback(self._taken)

    async def _take(self, result: pb.Result, size: int, held: int) -> None:
        self.reply(await self._reception.inline(self.client, result, size, held))

    def _taken(self, answering: "asyncio.Task[None]") -> None:
        self._answering.discard(answering)
        self._stream.failed(answering)
        self._free()

    def answered(self, awaited: Awaited, answer: Answer | None) -> None:
        """By the commit of what was taken at once."""
        try:
            self._reception.over(awaited, again=answer is None)
            if answer is None:
                self._answer(awaited)
                return
            self.reply(answer)
            self._free()
        except Exception as error:  # noqa: BLE001  # the commit's caller has others to answer: only this stream ends
            self._stream.fault(error)

    def failed(self, awaited: Awaited, error: Exception) -> None:
        """It is not in the rows: the client keeps it, and comes again."""
        try:
            self._reception.over(awaited)
            self._stream.fault(error)
            self._free()
        except Exception as fault:  # noqa: BLE001  # as above
            self._stream.fault(fault)

    def _free(self) -> None:
        """A result less is awaited."""
        self._awaited -= 1
        if not self._awaited:
            self._quiet.set()
        self._slots.release()
        self._changed()

    def _fail(self, failure: pb.Failure) -> None:
        if not ID.fullmatch(failure.task):
            raise violated(f"failure: task {failure.task[:64]!r}: 1 to 64 printable characters without spaces")
        self._door.failed(self.client, failure.task, *sayings.why(failure.reason, failure.detail))
        self.done(failure.task)

    def _progress(self, progress: pb.Progress) -> None:
        if (point := sayings.curve(progress)) is not None:
            self._door.progress(self.client, progress.task, *point)

    def _log(self, line: pb.Log) -> None:
        self._door.log(self.client, *sayings.line(line))
