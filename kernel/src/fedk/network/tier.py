"""The tier's calls: what combiners ask of this server."""

from functools import partial

import grpc

from fedk.api.errors import NotFound, Refused
from fedk.blobs.spool import Spool
from fedk.network.calls import Context, Ended, next_of, parsed, tier_handler
from fedk.network.deliveries import Deliveries
from fedk.network.download import Downloads
from fedk.network.hello import joining
from fedk.network.links import Link, Links
from fedk.network.messages import not_joined, spoken
from fedk.network.placement import Placement
from fedk.network.threads import Threads
from fedk.network.tickets import BadTicket, Tickets
from fedk.network.traffic import Traffic
from fedk.rounds.clients import Reply
from fedk.rounds.combiners import Combiner
from fedk.rounds.door import Door
from fedk.rounds.tier import Tier as Rounds
from fedk_protocol.metadata import TICKET
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as words


class Tier:
    """The service `fedk.v1.Tier`, and who is sent where. `placement` is set before it listens."""

    def __init__(
        self,
        door: Door,
        rounds: Rounds,
        spool: Spool,
        *,
        tickets: Tickets,
        downloads: Downloads,
        threads: Threads,
        traffic: Traffic,
    ) -> None:
        self._door, self._rounds, self._tickets, self._downloads = door, rounds, tickets, downloads
        self.placement: Placement | None = None
        self.links = Links(
            door,
            rounds,
            ticket=lambda combiner: tickets.mint(combiner.id, combiner.generation),
            arrived=self._arrived,
        )
        self._deliveries = Deliveries(rounds, spool, threads=threads, traffic=traffic)

    def handler(self) -> grpc.GenericRpcHandler:
        """For a server."""
        return tier_handler(
            attach=self.links.attach, join=self._join, ask=self._ask, fetch=self._fetch, deliver=self._deliver
        )

    @property
    def _place(self) -> Placement:
        assert self.placement is not None  # noqa: S101  # the network sets it before it listens
        return self.placement

    def _arrived(self, client: str) -> None:
        if (member := self._rounds.runner.roster.get(client)) is not None:
            self._place.arrived(member.project, member.name)

    def move(self, holder: str) -> None:
        """Send every client of a combiner to another one, where there is one that takes it."""
        link = self.links.holding(holder)
        for client in sorted(link.clients) if link is not None else ():
            member = self._rounds.runner.roster[client]
            found = self._place.place(member.project, member.name, member.attributes)
            if link is not None and found.addresses:
                link.answer(client, redirect=pb.Redirect(addresses=found.addresses, ticket=found.ticket))

    def rebalance(self) -> int:
        """Send clients from combiners with many to those with few; answers how many."""
        roster, links = self._rounds.runner.roster, {c: link for link in self.links for c in sorted(link.clients)}
        views = {c: self._place.view(roster[c].project, roster[c].name, roster[c].attributes) for c in links}
        moves = list(self._place.moves({c: (links[c].combiner.name, view) for c, view in views.items()}))
        for client, server in moves:
            owner = f"{roster[client].project}/{roster[client].name}"
            ticket = "" if server.root else self._tickets.mint(owner, "", server.name)
            links[client].answer(client, redirect=pb.Redirect(addresses=server.addresses, ticket=ticket))
        return len(moves)

    async def _join(self, raw: bytes, context: Context) -> bytes:
        combiner, request = self._caller(context).combiner, parsed(words.JoinRequest, raw)
        arriving = joining(request.hello)
        if not self._placed(combiner, request, arriving.project, arriving.name):
            return words.JoinReply(redirect=pb.Redirect(addresses=self._place.addresses)).SerializeToString()
        try:
            joined = await self._rounds.join(combiner, arriving)
        except Refused as refused:
            return words.JoinReply(refusal=not_joined(refused)).SerializeToString()
        return words.JoinReply(client=joined.client, replies=map(_reply, joined.replies)).SerializeToString()

    def _placed(self, combiner: Combiner, request: words.JoinRequest, project: str, name: str) -> bool:
        """Whether this server has sent the client to the combiner: just now, or before its stream broke."""
        if combiner.state != "live":
            return False
        member = self._rounds.runner.roster.named(project, name)
        if member is not None and member.holder == combiner.id:
            return True
        try:
            ticket = self._tickets.read(request.ticket)
        except BadTicket:
            return False
        return not ticket.expired and (ticket.client, ticket.holder) == (f"{project}/{name}", combiner.name)

    async def _ask(self, raw: bytes, context: Context) -> bytes:
        self._caller(context)
        request = parsed(words.AskRequest, raw)
        reply = await self._door.answer(request.client, request.task, request.result_id)
        return (_reply(reply) if reply is not None else pb.UploadReply()).SerializeToString()

    async def _fetch(self, raw: bytes, context: Context) -> None:
        self._caller(context)
        request = parsed(pb.BlobRequest, raw)
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
