"""The members: who is connected, and how a client becomes one."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

import grpc

from fedk.api.errors import Refused
from fedk.network.calls import Context, Ended, greeting, parsed, violated
from fedk.network.doors import AnyDoor
from fedk.network.hello import MOST, joining
from fedk.network.member import Member
from fedk.network.messages import not_joined
from fedk.network.tickets import brought
from fedk.network.turns import Turns
from fedk.rounds.clients import Joined, Joining, Redirected, SendFrom, Verdict
from fedk_protocol.reasons import Reason
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.version import VERSION

STATUSES: Mapping[str, grpc.StatusCode] = {
    Reason.VERSION: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.UNKNOWN_PROJECT: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.DUPLICATE_NAME: grpc.StatusCode.ALREADY_EXISTS,
    Reason.DRAINING: grpc.StatusCode.UNAVAILABLE,
    Reason.GATE_FAILED: grpc.StatusCode.PERMISSION_DENIED,
}
"""How a stream ends after the Refusal that says the same, for clients that read nothing but statuses."""

Enrol = Callable[[Joined, pb.Hello, Context], Member]
Welcome = Callable[[Member], pb.Welcome]
Place = Callable[[Joining], pb.LocateReply]


class Members:
    """By the id that the root minted. A client has one stream: the newest."""

    def __init__(self, door: AnyDoor, *, enrol: Enrol, welcome: Welcome, place: Place) -> None:
        self.draining = self._dismissed = False
        self._door, self._enrol, self._welcome, self._place = door, enrol, welcome, place
        self._members: dict[str, Member] = {}
        self._turns = Turns()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._members.values()))

    def get(self, client: str) -> Member | None:
        return self._members.get(client)

    def drain(self) -> None:
        """Nobody is sent a task any more, and nobody is taken in."""
        self.draining = True
        for member in self:
            member.drain()

    def dismiss(self) -> None:
        """End every stream, also of who is just being taken in."""
        self.draining = self._dismissed = True
        for member in self:
            member.dismiss()

    def changed(self) -> None:
        """Somebody may have become idle, or has left."""
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds; it is looked at after each `changed`."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def connect(self, _requests: object, context: Context) -> None:
        """The call: a stream from Hello to its end."""
        hello = await _greeting(context)
        arriving = joining(hello, ticket=brought(context))
        admission = asyncio.create_task(self._admit(arriving, hello, context))
        try:
            member = await asyncio.shield(admission)
        except Redirected as elsewhere:
            redirect = pb.Redirect(addresses=elsewhere.addresses, ticket=elsewhere.ticket)
            await context.write(pb.ServerMessage(redirect=redirect).SerializeToString())
            raise Ended(grpc.StatusCode.UNAVAILABLE, str(elsewhere)) from elsewhere
        except Refused as refused:
            await context.write(pb.ServerMessage(refusal=not_joined(refused)).SerializeToString())
            code = STATUSES.get(refused.reason, grpc.StatusCode.FAILED_PRECONDITION)
            raise Ended(code, str(refused)) from refused
        except asyncio.CancelledError:  # the client is gone; that it came may be written down already
            admission.add_done_callback(self._abandoned)
            raise
        try:
            await self._cancel_settled(member, hello)
            del hello  # a stream lasts for days, and needs no more of it
            await member.serve()
        finally:
            self._leave(member)

    def _send_on(self, arriving: Joining) -> None:
        """Raises Redirected where the balancer has chosen another server, Refused where it has found none."""
        place = self._place(arriving)
        if not place.here:
            if place.addresses:
                raise Redirected(list(place.addresses), place.ticket)
            raise Refused(Reason.DRAINING, "no combiner takes clients at the moment")

    async def _admit(self, arriving: Joining, hello: pb.Hello, context: Context) -> Member:
        """One stream of a name after the other: whoever came last is the one that `rounds` knows."""
        self._send_on(arriving)
        async with self._turns.take(f"{arriving.project}/{arriving.name}"):
            self._check(hello)
            joined = await self._door.join(arriving)
            member = self._enrol(joined, hello, context)
            self._register(member, joined)
        return member

    def _abandoned(self, admission: "asyncio.Task[Member]") -> None:
        if not admission.cancelled() and admission.exception() is None:
            self._leave(admission.result())

    def _check(self, hello: pb.Hello) -> None:
        if hello.version.major != VERSION[0]:
            theirs, ours = f"{hello.version.major}.{hello.version.minor}", ".".join(map(str, VERSION))
            text = f"the client speaks fedk.v1 {theirs}, this server {ours}. Upgrade the older side"
            raise Refused(Reason.VERSION, text)
        if self.draining:
            raise Refused(Reason.DRAINING, "the server is about to stop")

    def _register(self, member: Member, joined: Joined) -> None:
        older = self._members.get(member.client)
        if older is not None:
            older.supersede(member.instance)
        self._members[member.client] = member
        member.say(welcome=self._welcome(member))
        for reply in joined.replies:
            member.reply(reply)
        self._door.joined(member.client)
        if self._dismissed:
            member.dismiss()
        elif self.draining:
            member.drain()

    async def _cancel_settled(self, member: Member, hello: pb.Hello) -> None:
        for task in hello.working:
            if self._door.open_task(member.client, task) is None:
                said = await self._door.answer(member.client, task, "")
                if said is not None:  # a combiner may not know yet what is awaited
                    member.cancel(task, said.reason if isinstance(said, Verdict) and said.reason else Reason.CANCELLED)

    def _leave(self, member: Member) -> None:
        if self._members.get(member.client) is member:
            del self._members[member.client]
            self._door.leave(member.client, member.instance, member.cause)
        self.changed()


def held(hello: pb.Hello, joined: Joined) -> set[str]:
    """The tasks that a client brings with it: at work, or with a result that it is asked to send."""
    return {*hello.working, *(reply.task for reply in joined.replies if isinstance(reply, SendFrom))}


async def _greeting(context: Context) -> pb.Hello:
    raw = await greeting(context, "Hello")
    if len(raw) > MOST:
        raise violated(f"Hello has {len(raw):,} bytes, at most {MOST:,}")
    message = parsed(pb.ClientMessage, raw)
    if not message.HasField("hello"):
        raise violated("the first message must be Hello")
    return message.hello
