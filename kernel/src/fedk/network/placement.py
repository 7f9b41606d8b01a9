"""Placement: which server serves a client. The balancer decides among this one and the combiners."""

import ipaddress
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import count
from math import inf
from typing import Any

from fedk.api.balancer import Balancer, ClientView, ServerView
from fedk_protocol.address import host_port
from fedk_protocol.v1 import federation_pb2 as pb

REMEMBERED, MOST = 60.0, 10_000
"""Seconds for which is known what a client could not reach, and of how many clients. Only servers' addresses are kept."""

COMING = 10.0
"""Seconds for which a client counts as one of the server's that it was sent to, or let in at, before it has come."""

WAIT = 5.0
"""Seconds after which a client that could not be placed asks again."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a client has said of the way to combiners."""

    at: float = -inf  # monotonic seconds
    unreachable: frozenset[str] = frozenset()
    latency: Mapping[str, float] = field(default_factory=dict)  # seconds, by address


class Placement:
    """`state` says live or draining, `clients` how many are connected."""

    def __init__(
        self,
        name: str,
        advertise: Sequence[str],
        balancer: Balancer[Any],
        *,
        serves: bool,
        attributes: Mapping[str, str] | None = None,
        clients: Callable[[], int],
        state: Callable[[], str],
        combiners: Callable[[], Sequence[ServerView]],
        ticket: Callable[[str, str, str], str],
    ) -> None:
        self.name, self._advertise, self._balancer = name, tuple(advertise), balancer
        self._serves, self._clients, self._state = serves, clients, state
        self._attributes = attributes or {}
        self._combiners, self._ticket = combiners, ticket
        self._own: tuple[str, ...] = ()
        self._turns = count()
        self._told: OrderedDict[tuple[str, str], Told] = OrderedDict()
        self._coming: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()  # to which server, since when
        self._awaited: Counter[str] = Counter()  # how many of them, by server

    def listens(self, address: str) -> None:
        """What this server's own address has become."""
        self._own = (_reachable(address),)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where this server itself is reached."""
        return self._advertise or self._own

    def place(self, project: str, name: str, attributes: Mapping[str, str], above: str = "") -> pb.LocateReply:
        """Where a client that says hello here is to be: `here`, at a combiner, or nowhere yet.

        `above` is the ticket with which it was sent here.
        """
        return self._located(project, self.view(project, name, attributes), above)

    def locate(self, request: pb.LocateRequest, above: str = "") -> pb.LocateReply:
        """Where the client is to connect, or how long it is to wait. What it cannot reach is remembered for a while."""
        project = request.project or "default"
        self.told(project, request.name, request.unreachable, request.latency)
        return self._located(project, self.view(project, request.name, request.attributes), above)

    def told(
        self, project: str, name: str, unreachable: Iterable[str], measured: Mapping[str, float] | None = None
    ) -> None:
        """What a client says of the way to combiners; of other addresses nothing is kept. `measured` is in seconds."""
        addresses = {address for server in self._combiners() for address in server.addresses}
        missed = addresses.intersection(unreachable)
        latency = {address: seconds for address, seconds in (measured or {}).items() if address in addresses}
        if missed or latency:
            before = self._known(project, name)
            told = Told(time.monotonic(), before.unreachable | missed, {**before.latency, **latency})
            self._told[project, name] = told
            self._told.move_to_end((project, name))
            if len(self._told) > MOST:
                self._told.popitem(last=False)

    def arrived(self, project: str, name: str) -> None:
        """A client has come to where it was sent, or is sent elsewhere."""
        if (one := self._coming.pop((project, name), None)) is not None:
            self._awaited[one[0]] -= 1

    def moves(self, clients: Mapping[str, tuple[str, ClientView]]) -> Iterator[tuple[str, ServerView]]:
        """Of clients, by id, each with the name of its server: who goes where, so that no server has two more than another.

        A balancer that has its reasons for a place (locality, hashing) is asked, and a client moves only if it agrees.
        """
        servers = {server.name: server for server in self._servers()}
        for id_, (current, client) in clients.items():
            found = self._balancer.assign(client, _reached(client, servers.values()))
            mine = servers.get(current)
            if found is None or mine is None or found.name == current or mine.clients - found.clients <= 1:
                continue
            servers[current] = replace(mine, clients=mine.clients - 1)
            servers[found.name] = replace(found, clients=found.clients + 1)
            yield id_, found

    def view(self, project: str, name: str, attributes: Mapping[str, str]) -> ClientView:
        """A client as a balancer sees it."""
        seed = int.from_bytes(sha256(f"{project}/{name}".encode()).digest()[:8])
        known = self._known(project, name)
        return ClientView(
            name=name,
            attributes=dict(attributes),
            unreachable=known.unreachable,
            latency=_latencies(known.latency, self._combiners()),
            seed=seed,
            turn=next(self._turns),
        )

    def _known(self, project: str, name: str) -> "Told":
        told = self._told.get((project, name))
        return told if told is not None and told.at > time.monotonic() - REMEMBERED else Told()

    def _servers(self) -> list[ServerView]:
        combiners = [replace(s, clients=s.clients + self._awaited[s.name]) for s in self._combiners()]
        return [*([self._this()] if self._serves else []), *combiners]

    def _located(self, project: str, client: ClientView, above: str) -> pb.LocateReply:
        self.arrived(project, client.name)
        while self._coming and next(iter(self._coming.values()))[1] < time.monotonic() - COMING:
            self.arrived(*next(iter(self._coming)))
        servers = self._servers()
        live = [server for server in servers if server.state == "live"]
        if live and not _reached(client, live) and self._state() == "live":
            return pb.LocateReply(addresses=self.addresses, here=True)  # whoever asks has reached this one
        found = self._balancer.assign(client, _reached(client, servers))
        if found is None:
            return pb.LocateReply(wait=WAIT)
        if len(self._coming) < MOST:  # whoever comes meanwhile is placed as if this one had come
            self._coming[project, client.name] = found.name, time.monotonic()
            self._awaited[found.name] += 1
        if found.root:
            return pb.LocateReply(addresses=found.addresses, here=True)
        ticket = self._ticket(f"{project}/{client.name}", found.name, above)
        return pb.LocateReply(addresses=found.addresses, ticket=ticket)

    def _this(self) -> ServerView:
        return ServerView(
            name=self.name,
            attributes=self._attributes,
            clients=self._clients() + self._awaited[self.name],
            state=self._state(),
            root=True,
            addresses=self.addresses,
        )


def _reached(client: ClientView, servers: Iterable[ServerView]) -> list[ServerView]:
    """Those of which the client has not said that it cannot reach them."""
    return [s for s in servers if s.root or not s.addresses or not client.unreachable.issuperset(s.addresses)]


def _latencies(measured: Mapping[str, float], servers: Sequence[ServerView]) -> Mapping[str, float]:
    """Seconds to each server, by the nearest of its addresses that the client has measured."""
    found = {s.name: [measured[a] for a in s.addresses if a in measured] for s in servers}
    return {name: min(seconds) for name, seconds in found.items() if seconds}


def _reachable(address: str) -> str:
    """An address that listens everywhere is none to dial: this machine's name, then."""
    host, port = host_port(address)
    try:
        everywhere = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        everywhere = False
    return f"{socket.gethostname()}:{port}" if everywhere else address
