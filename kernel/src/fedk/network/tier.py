"""The tier's calls: what combiners ask of this server."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial

import grpc

from fedk.api.balancer import ServerView
from fedk.api.errors import NotFound, Refused
from fedk.blobs.spool import Spool
from fedk.network.calls import Context, Ended, next_of, parsed, tier_handler
from fedk.network.deliveries import Deliveries
from fedk.network.doors import AnyDoor, AnyTier
from fedk.network.download import Downloads
from fedk.network.hello import joining
from fedk.network.links import Link, Links
from fedk.network.messages import not_joined, spoken
from fedk.network.placement import Placement
from fedk.network.threads import Threads
from fedk.network.tickets import BadTicket, Tickets
from fedk.network.traffic import Traffic
from fedk.rounds.clients import Joining, Redirected, Reply
from fedk.rounds.combiners import Combiner
from fedk_protocol.metadata import TICKET
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as words


class Tier:
    """The service `fedk.v1.Tier`, at a root or in the middle, and who is sent where."""

    def __init__(
        self,
        door: AnyDoor,
        rounds: AnyTier,
        spool: Spool,
        *,
        placement: Placement,
        tickets: Tickets,
        downloads: Downloads,
        threads: Threads,
        traffic: Traffic,
    ) -> None:
        self._door, self._rounds, self._tickets, self._downloads = door, rounds, tickets, downloads
        self._placement = placement
        self.links = Links(
            door,
            rounds,
            ticket=lambda combiner: tickets.mint(combiner.id, combiner.generation),
            arrived=self._arrived,
            traffic=traffic,
        )
        self._deliveries = Deliveries(rounds, spool, threads=threads, traffic=traffic)

    def handler(self) -> grpc.GenericRpcHandler:
        """For a server."""
        return tier_handler(
            attach=self.links.attach, join=self._join, ask=self._ask, fetch=self._fetch, deliver=self._deliver
        )

    def _arrived(self, client: str) -> None:
        if (who := self._rounds.who(client)) is not None:
            self._placement.arrived(*who[:2])

    def unreached(self, project: str, name: str, addresses: Collection[str]) -> None:
        """A client could not connect to these: combiners hear of those below them, which they send clients to."""
        for link in self.links:
            below = {address for branch in link.combiner.below for address in branch.advertise}
            if missed := below.intersection(addresses):
                link.say(unreached=words.Unreached(project=project, name=name, addresses=sorted(missed)))

    def move(self, holder: str) -> None:
        """Send every client of a combiner to another one, where there is one that takes it."""
        link = self.links.holding(holder)
        for client in sorted(link.clients) if link is not None else ():
            found = self._elsewhere(client)
            if link is not None and found.addresses:
                link.answer(client, redirect=found)

    def _elsewhere(self, client: str) -> pb.Redirect:
        """A place for a client; one that is not known here by name is placed when it says hello."""
        who = self._rounds.who(client)
        if who is None:
            return pb.Redirect(addresses=self._placement.addresses)
        found = self._placement.place(*who)
        return pb.Redirect(addresses=found.addresses, ticket=found.ticket)

    def moves(self, own: Iterable[str]) -> list[tuple[str, Sequence[str], str]]:
        """Which clients go from servers with many to those with few: where to, and with which ticket. `own` are those of
        this server itself.
        """
        at = dict.fromkeys(sorted(own), self._placement.name)
        at |= {client: link.combiner.name for link in self.links for client in sorted(link.clients)}
        known = {client: who for client in at if (who := self._rounds.who(client)) is not None}
        found = self._placement.moves({c: (at[c], self._placement.view(*who)) for c, who in known.items()})
        return [(client, server.addresses, self._ticket_to(server, *known[client][:2])) for client, server in found]

    def _ticket_to(self, server: ServerView, project: str, name: str) -> str:
        return "" if server.root else self._tickets.mint(f"{project}/{name}", "", server.name)

    async def _join(self, raw: bytes, context: Context) -> bytes:
        combiner, request = self._caller(context).combiner, parsed(words.JoinRequest, raw)
        arriving = joining(request.hello)
        above = self._placed(combiner, request.ticket, arriving)
        if above is None:
            return words.JoinReply(redirect=pb.Redirect(addresses=self._placement.addresses)).SerializeToString()
        try:
            joined = await self._rounds.join(combiner, replace(arriving, ticket=above))
        except Redirected as elsewhere:  # by a server above this one
            redirect = pb.Redirect(addresses=elsewhere.addresses, ticket=elsewhere.ticket)
            return words.JoinReply(redirect=redirect).SerializeToString()
        except Refused as refused:
            return words.JoinReply(refusal=not_joined(refused)).SerializeToString()
        return words.JoinReply(client=joined.client, replies=map(_reply, joined.replies)).SerializeToString()

    def _placed(self, combiner: Combiner, ticket: str, joining: Joining) -> str | None:
        """The ticket of whoever has sent the client to this server, if this server has sent it to the combiner: just
        now, or before its stream broke.
        """
        if combiner.state != "live":
            return None
        owner = f"{joining.project}/{joining.name}"
        try:
            found = self._tickets.read(ticket)
        except BadTicket:
            found = None
        if found is not None and not found.expired and (found.client, found.holder) == (owner, combiner.name):
            return found.above
        return "" if self._rounds.placed(joining.project, joining.name) == combiner.id else None

    async def _ask(self, raw: bytes, context: Context) -> bytes:
        self._caller(context)
        request = parsed(words.AskRequest, raw)
        reply = await self._door.answer(request.client, request.task, request.result_id)
        return (_reply(reply) if reply is not None else pb.UploadReply()).SerializeToString()

    async def _fetch(self, raw: bytes, context: Context) -> None:
        self._caller(context)
        request = parsed(pb.BlobRequest, raw)
        async with self._rounds.lending(request.sha256):
            await self._downloads.send(None, request, context, session=self._rounds.bringing(request.sha256))

    async def _deliver(self, _requests: object, context: Context) -> bytes:
        combiner = self._caller(context).combiner
        try:
            await self._deliveries.take(combiner, partial(next_of, context))
        except Refused as refused:
            raise Ended(grpc.StatusCode.RESOURCE_EXHAUSTED, refused.detail) from refused
        except NotFound as error:
            raise Ended(grpc.StatusCode.NOT_FOUND, str(error)) from error
        return words.Delivered().SerializeToString()

    def _caller(self, context: Context) -> Link:
        link = self.links.holding(self._tickets.of(context).client)
        if link is None:
            raise Ended(grpc.StatusCode.UNAUTHENTICATED, f"{TICKET}: this combiner has no stream here")
        return link


def _reply(reply: Reply) -> pb.UploadReply:
    kind, message = spoken(reply)
    return pb.UploadReply(**{kind: message})
