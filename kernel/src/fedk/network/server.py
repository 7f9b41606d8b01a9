"""The network: the gRPC service, and how `rounds` reaches who is connected to it."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # published without types

from fedk.api.balancer import Balancer, ServerView
from fedk.blobs.spool import Spool
from fedk.catalogue.extensions import services
from fedk.catalogue.hooks import Enabled
from fedk.network.calls import SERVICE, Context, Ended, handler, next_of, parsed, violated
from fedk.network.doors import AnyDoor, AnyTier
from fedk.network.download import Downloads
from fedk.network.links import Link
from fedk.network.listener import Keepalive, listen, server
from fedk.network.member import Member
from fedk.network.members import Members, held
from fedk.network.messages import Tasks, settles, uploaded
from fedk.network.placement import Placement
from fedk.network.reception import WORDS, Reception
from fedk.network.threads import Threads
from fedk.network.tickets import Tickets, brought
from fedk.network.tier import Tier
from fedk.network.traffic import Traffic
from fedk.rounds.clients import Flush, Joined, Joining, Offer, Reply
from fedk.rounds.states import session_of
from fedk.settings import Settings
from fedk_protocol.metadata import TICKET
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.version import VERSION

INLINE_MAX, CHUNK = 64 * 2**10, 512 * 2**10
"""Bytes of the largest blob inside a message, and of a chunk: far below what a message may have."""

RECONNECT, RECONNECTS_A_SECOND = (0.2, 1.0), 500
"""Seconds of back-off, at least and at most; the cap grows so that no more clients come back in a second."""

FAREWELL, STATUSES = 6.0, 0.5
"""Seconds that streams have to end by themselves, longer than each has for its last words; and their statuses to leave."""

TRANSFERS = 64
"""Downloads and uploads of one client at a time: each has an open file, and a chunk in memory while nobody reads it."""

Status = health_pb2.HealthCheckResponse


class Network:
    """Implements `fedk.rounds.clients.Clients`. Begins with `start`, ends with `drain` and `stop`."""

    def __init__(
        self,
        door: AnyDoor,
        spool: Spool,
        *,
        settings: Settings,
        balancer: Balancer[Any],
        tier: AnyTier,
        plugins: Sequence[Enabled] = (),
        keepalive: Keepalive = Keepalive(),  # noqa: B008  # frozen
    ) -> None:
        limits, own = settings.limits, settings.server
        self._door, self._plugins, self._keepalive = door, plugins, keepalive
        self._leaf = own.role == "combiner"  # unless others have attached to it
        self._traffic, self._tasks, self._tickets = Traffic(), Tasks(), Tickets(own.name)
        self._limits = pb.Limits(
            inline_max=INLINE_MAX, message_max=limits.message_bytes, chunk=CHUNK, result_max=limits.spool_bytes
        )
        self._window_bytes = limits.window_bytes
        self._members = Members(door, enrol=self._enrol, welcome=self._welcome, place=self._place)
        self._threads = threads = Threads()
        self._reception = Reception(
            door=door,
            spool=spool,
            traffic=self._traffic,
            threads=threads,
            intake_bytes=limits.intake_bytes,
            result_max=limits.spool_bytes,
        )
        self._downloads = Downloads(door=door, traffic=self._traffic, threads=threads, chunk_size=self._limits.chunk)
        self._placement = Placement(
            own.name,
            own.advertise,
            balancer,
            serves=own.role != "controller",
            attributes=own.attributes,
            clients=lambda: len(self._members),
            state=self._state,
            combiners=self._combiners,
            ticket=lambda client, holder, above: self._tickets.mint(client, "", holder, above),
        )
        self._tier = Tier(
            door,
            tier,
            spool,
            placement=self._placement,
            tickets=self._tickets,
            downloads=self._downloads,
            threads=threads,
            traffic=self._traffic,
        )
        self._health = health.aio.HealthServicer()
        self._transfers: Counter[str] = Counter()
        self._server: grpc.aio.Server | None = None

    # ---- life ----

    async def start(self, address: str) -> str:
        """Listen; answers HOST:PORT as it became. ConfigError names what is in the way."""
        self._server = server(
            message_bytes=self._limits.message_max, window_bytes=self._window_bytes, keepalive=self._keepalive
        )
        calls = handler(
            connect=self._members.connect, download=self._download, upload=self._upload, locate=self._locate
        )
        self._server.add_generic_rpc_handlers((calls, self._tier.handler()))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        services(self._plugins, [SERVICE, health.SERVICE_NAME]).add_to(self._server)
        bound = await listen(self._server, address)
        self._placement.listens(bound)
        await self._health.set(SERVICE, Status.SERVING)
        await self._server.start()
        return bound

    async def drain(self, grace: float) -> None:
        """Send no task any more; wait until every answer under way has come, at most `grace` seconds."""
        self._members.drain()
        await self._health.set(SERVICE, Status.NOT_SERVING)
        await self._health.set("", Status.NOT_SERVING)
        with suppress(TimeoutError):  # a client may train for hours: it keeps its result and comes back
            async with asyncio.timeout(grace):  # as said above
                await self._members.until(self._quiet)

    async def stop(self) -> None:
        """End every stream, and stop listening."""
        self._members.dismiss()
        self._tier.links.dismiss()
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):  # some may be dead, and an upload on a slow line
                await self._members.until(lambda: not self._members and not self._transfers)
        if self._server is not None:
            await self._server.stop(STATUSES)
        self._threads.close()

    def _quiet(self) -> bool:
        return not self._transfers and not any(member.busy for member in self._members)

    def _combiners(self) -> Sequence[ServerView]:
        return self._tier.links.servers()

    def _state(self) -> str:
        return "draining" if self._members.draining else "live"

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where clients reach this server, once it listens."""
        return self._placement.addresses

    def __len__(self) -> int:
        return len(self._members)

    # ---- what rounds calls ----

    def offer(self, offer: Offer) -> None:
        """Queue the task; `Door.sent` is called when it is written to the client's stream."""
        if (member := self._members.get(offer.client)) is not None:
            member.offer(offer)
        elif (link := self._link(offer.client)) is not None:
            link.offer(offer)

    def cancel(self, client: str, task: str, reason: str) -> None:
        """Take the task back, queued or sent; what it is uploading is not read any more."""
        if (member := self._members.get(client)) is not None:
            member.cancel(task, reason)
        elif (link := self._link(client)) is not None:
            link.cancel(client, task, reason)
        self._reception.cut(task)

    def reply(self, client: str, reply: Reply, holders: Collection[str] = ()) -> None:
        """Say it on the client's stream, and to combiners that hold the result."""
        if (member := self._members.get(client)) is not None:
            member.reply(reply)
        self._tier.links.reply(client, reply, holders)

    def _link(self, client: str) -> Link | None:
        return self._tier.links.of(client)

    def flush(self, holder: str, flush: Flush) -> None:
        """Ask a combiner for what it holds. One that is away is asked when it is back."""
        self._tier.links.flush(holder, flush)

    def partial_taken(self, holder: str, session: str, number: int) -> None:
        """Tell a combiner that its sum is here."""
        self._tier.links.partial_taken(holder, session, number)

    def refold(self, holder: str, session: str, number: int, without: Sequence[str]) -> None:
        """Tell a combiner that its sum is not taken because of these tasks."""
        self._tier.links.refold(holder, session, number, without)

    def drain_below(self, holder: str, name: str) -> None:
        """Tell a combiner that the one of this name below it is to give away what it holds."""
        self._tier.links.drain_below(holder, name)

    def unreached(self, project: str, name: str, addresses: Collection[str]) -> None:
        """A client could not connect to these combiners."""
        self._placement.told(project, name, addresses)
        self._tier.unreached(project, name, addresses)

    def move(self, holder: str) -> None:
        """Send every client of a combiner elsewhere."""
        self._tier.move(holder)

    def rebalance(self) -> int:
        """Send clients from servers with many to those with few; answers how many."""
        moves = self._tier.moves(member.client for member in self._members)
        for move in moves:
            self.redirect(*move)
        return len(moves)

    def redirect(self, client: str, addresses: Sequence[str], ticket: str) -> None:
        """Another server serves this client from now on."""
        if (member := self._members.get(client)) is not None:
            member.redirect(addresses, ticket)
        elif (link := self._link(client)) is not None:
            link.answer(client, redirect=pb.Redirect(addresses=addresses, ticket=ticket))

    def traffic(self, session: str) -> tuple[int, int]:
        """Bytes (sent to, received from) the clients of a session, by this process."""
        return self._traffic.of(session)

    # ---- the calls ----

    def _place(self, joining: Joining) -> pb.LocateReply:
        if self._members.draining or (self._leaf and not any(self._tier.links)):
            return pb.LocateReply(here=True)
        return self._placement.place(joining.project, joining.name, joining.attributes, joining.ticket)

    def _enrol(self, joined: Joined, hello: pb.Hello, context: Context) -> Member:
        self._placement.arrived(hello.project or "default", hello.name)
        return Member(
            joined.client,
            hello.instance,
            context,
            capacity=hello.tasks or 1,
            also=hello.also,
            held=held(hello, joined),
            door=self._door,
            reception=self._reception,
            tasks=self._tasks,
            traffic=self._traffic,
            changed=self._members.changed,
        )

    def _welcome(self, member: Member) -> pb.Welcome:
        base, cap = RECONNECT
        return pb.Welcome(
            version=pb.Version(major=VERSION[0], minor=VERSION[1]),
            client=member.client,
            ticket=self._tickets.mint(member.client, member.instance),
            limits=self._limits,
            reconnect_base=base,
            reconnect_cap=max(cap, len(self._members) / RECONNECTS_A_SECOND),
            server=f"fedk {version('fedk')}",
        )

    async def _download(self, raw: bytes, context: Context) -> None:
        client, request = self._caller(context), parsed(pb.BlobRequest, raw)
        member = self._members.get(client)
        offer = member.agenda.bringing(request.sha256) if member is not None else None
        with self._transfer(client):
            await self._downloads.send(client, request, context, session=offer.work.session if offer else "")

    async def _upload(self, _requests: object, context: Context) -> bytes:
        client = self._caller(context)
        with self._transfer(client):
            first = await next_of(context) or b""
            if len(first) > WORDS:
                raise violated(f"the begin of an upload has {len(first):,} bytes, at most {WORDS:,}")
            message = parsed(pb.UploadMessage, first)
            if not message.HasField("begin"):
                raise violated("an upload is begin, then data, then end")
            answer = await self._reception.upload(client, message.begin, len(first), partial(next_of, context))
        reply, session = uploaded(answer), session_of(answer.task)
        if session in self._traffic:
            self._traffic.sent(session, len(reply))
        if settles(answer) and (member := self._members.get(client)) is not None:
            member.done(answer.task)
        return reply

    async def _locate(self, raw: bytes, context: Context) -> bytes:
        request = parsed(pb.LocateRequest, raw)
        if request.unreachable:
            self._tier.unreached(request.project or "default", request.name, request.unreachable)
        return self._placement.locate(request, brought(context)).SerializeToString()

    def _caller(self, context: Context) -> str:
        """The client whose ticket a call carries."""
        ticket = self._tickets.of(context)
        member = self._members.get(ticket.client)
        if ticket.expired if member is None else ticket.instance != member.instance:
            raise Ended(grpc.StatusCode.UNAUTHENTICATED, f"{TICKET}: not the ticket of this client's stream")
        return ticket.client

    @contextmanager
    def _transfer(self, client: str) -> Iterator[None]:
        if self._transfers[client] >= TRANSFERS:
            text = f"this client has {TRANSFERS} downloads and uploads under way: finish some first"
            raise Ended(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        self._transfers[client] += 1
        try:
            yield
        finally:
            self._transfers[client] -= 1
            if not self._transfers[client]:
                del self._transfers[client]
            self._members.changed()
