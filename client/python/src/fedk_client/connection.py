"""Keeps a client joined: dials, converses, waits, dials again, until it is stopped or turned away."""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future

import grpc

from fedk_client.backoff import draw, pause
from fedk_client.conversation import Conversation, Deferred, Redirected, results
from fedk_client.desk import LINE, Desk
from fedk_client.dial import dial, reaches
from fedk_client.errors import TaskCancelled, TurnedAway, UsageError
from fedk_client.journal import plain
from fedk_client.kept import Kept
from fedk_client.loop import soon, submit
from fedk_client.route import Route
from fedk_protocol.address import dialled
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1.federation_pb2_grpc import FederationStub

log = logging.getLogger("fedk_client")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # as the protocol's specification says
_FAREWELL = 2.0  # seconds that a server has to end the stream after a goodbye
_ANSWER = 10.0  # seconds for a call that moves no bytes: a server may be alive, and never answer
_FINAL = {  # answers to Connect that another try would not change
    grpc.StatusCode.UNIMPLEMENTED: "does not speak fedk.v1",
    grpc.StatusCode.UNAUTHENTICATED: "wants to know who is calling",
    grpc.StatusCode.PERMISSION_DENIED: "does not let this client in",
    grpc.StatusCode.INVALID_ARGUMENT: "does not understand this client",
}

_STRANGE = {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
"""Answers to Connect of what is no fedk server, or of one that is broken: it counts as not reached."""


class Connection:
    """Lives in the connections' thread; its public methods are for the thread of user code."""

    def __init__(self, server: str, desk: Desk) -> None:
        _check_address(server)
        if not _NAME.fullmatch(desk.hello.name):
            raise UsageError(f'"{desk.hello.name}" is no name: it has 1 to 100 of A-Z a-z 0-9 . _ -, no sign first')
        self._route, self._desk = Route(server), desk
        self._conversation: Conversation | None = None
        self._begun, self._stop, self._leaving = asyncio.Event(), asyncio.Event(), False
        self._life: Future[None] | None = None
        self._told = False  # that the server is not there

    def start(self, ended: Callable[[], None]) -> None:
        """`ended` is called once, in the connections' thread, when this is over for good."""
        self._life = submit(self._live())
        self._life.add_done_callback(lambda _life: ended())
        soon(self._begun.set)  # not before: Ctrl-C may come between any two lines, and nobody would say goodbye

    def stop(self) -> None:
        """Say goodbye and end; raises what ended the connection before."""
        if self._life is not None:
            soon(self._begun.set)
            soon(self._stop.set)
            self._life.result()

    def answered(self, kept: Kept) -> None:
        """The result is in the outbox: send it."""
        soon(lambda: self._answer(kept))

    def failed(self, task: str, reason: str, detail: str) -> None:
        """The task has no result."""
        soon(lambda: self._fail(pb.Failure(task=task, reason=reason, detail=detail)))

    def progress(self, task: str, step: int, metrics: Mapping[str, float]) -> None:
        if self._desk.agenda.is_cancelled(task):
            raise TaskCancelled(f"the server does not want task {task} any more")
        values = {name: float(value) for name, value in metrics.items()}
        message = pb.ClientMessage(progress=pb.Progress(task=task, step=step, metrics=values))
        soon(lambda: self._mention(message))

    def log(self, task: str, text: str) -> None:
        message = pb.ClientMessage(log=pb.Log(task=task, level="info", text=str(text)[:LINE]))
        soon(lambda: self._mention(message))

    # ---- in the connections' thread ----

    def _answer(self, kept: Kept) -> None:
        self._desk.resting.begin()
        if self._conversation:
            self._conversation.answer(kept)

    def _mention(self, message: pb.ClientMessage) -> None:
        if self._conversation:
            self._conversation.mention(message)

    def _fail(self, failure: pb.Failure) -> None:
        self._desk.fail(failure)
        if self._conversation:
            self._conversation.say_failures()

    async def _live(self) -> None:
        await self._begun.wait()
        attending = asyncio.create_task(self._attend())
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({attending, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not attending.done() and self._leave():
            await asyncio.wait({attending}, timeout=_FAREWELL)  # a server that is dying itself ends no stream
        for task in (attending, stopping):
            task.cancel()
        await asyncio.wait({attending, stopping})
        if not attending.cancelled():
            attending.result()  # what ended it, if that was not this

    def _leave(self) -> bool:
        """Whether there may be a server to hear the goodbye."""
        self._leaving = True
        if self._conversation is None:
            return False
        self._conversation.leave("stopped")
        return True

    async def _attend(self) -> None:
        while not self._leaving:
            lost = await self._converse()
            if lost and not self._leaving:
                seconds = draw(self._desk.delays)
                self._tell(lost, seconds)
                await pause(seconds)

    async def _converse(self) -> str:
        """One stream; why it ended, or nothing where the next is to be begun at once."""
        if self._route.is_home and self._route.missed:
            return await self._ask_elsewhere()
        address, ticket = self._route.next
        async with dial(address) as channel:
            if not self._route.is_home and not await reaches(channel):
                self._route.miss()
                return ""
            conversation = Conversation(channel, self._desk, ticket=ticket)
            try:
                await self._hold(conversation)
            except Redirected as redirected:
                self._route.lead(redirected.addresses, redirected.ticket)
                return str(redirected) if self._route.is_long or self._route.is_home else ""
            except Deferred as deferred:
                return str(deferred)
            except grpc.aio.AioRpcError as error:
                if not self._route.is_home and not conversation.welcomed and error.code() in _STRANGE:
                    self._route.miss()
                    return ""
                if words := _FINAL.get(error.code()):
                    raise TurnedAway(
                        error.code().name.lower(), f"{address} {words}: {plain(str(error.details()))}"
                    ) from error
                self._route.leave()
                return f"{address}: {_short(error)}"
        self._route.lead([], "")
        return f"{address} ended the stream"

    async def _hold(self, conversation: Conversation) -> None:
        self._conversation = conversation
        try:
            await conversation.hold()
        finally:
            self._conversation = None
            if conversation.welcomed:
                self._told = False
                self._route.arrive()

    async def _ask_elsewhere(self) -> str:
        """The server that has sent this client on hears where it cannot go."""
        hello, home, missed = self._desk.hello, self._route.home, ", ".join(self._route.missed)
        request = pb.LocateRequest(
            project=hello.project, name=hello.name, attributes=hello.attributes, unreachable=self._route.missed
        )
        async with dial(home) as channel:
            try:
                reply = await FederationStub(channel).Locate(request, timeout=_ANSWER)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    self._route.missed.clear()  # it is there, and will not say: it is joined as if nobody was missed
                return f"{home}: {_short(error)}"
        if not self._route.follow(reply) or self._route.is_long:
            return f"{missed} cannot be reached"
        log.info("%s cannot be reached, %s is asked instead", missed, self._route.next[0])
        return ""

    def _tell(self, lost: str, seconds: float) -> None:
        kept = f", {results(len(self._desk.outbox))} kept" if self._desk.outbox else ""
        what = f"server lost{kept}" if self._desk.has_joined else f"no server yet at {self._route.home}"
        # once for each loss: an outage of an hour is one line
        log.log(
            logging.DEBUG if self._told else logging.WARNING, "%s, next try in %.1f s (%s)", what, seconds, plain(lost)
        )
        self._told = True


def _check_address(server: str) -> None:
    if not server.startswith("unix:"):
        try:
            dialled(server)
        except ValueError as error:
            raise UsageError(f'"{server}" {error}') from error


def _short(error: grpc.aio.AioRpcError) -> str:
    details = error.details() or error.code().name
    if "http1.x" in details:
        return "what answers there speaks HTTP/1: clients join at server.listen, and not at server.admin"
    return details.rpartition("last error: ")[2]
