"""Placement: which server serves a client. The balancer decides among this one and the combiners."""

import ipaddress
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import count
from typing import Any

from fedk.api.balancer import Balancer, ClientView, ServerView
from fedk.settings import host_port
from fedk_protocol.v1 import federation_pb2 as pb

REMEMBERED, MOST = 60.0, 10_000
"""Seconds for which is known what a client could not reach, and of how many clients."""

WAIT = 5.0
"""Seconds after which a client that could not be placed asks again."""


class Placement:
    """`state` says live or draining, `clients` how many are connected."""

    def __init__(
        self,
        name: str,
        advertise: Sequence[str],
        balancer: Balancer[Any],
        *,
        serves: bool,
        clients: Callable[[], int],
        state: Callable[[], str],
        combiners: Callable[[], Sequence[ServerView]],
        ticket: Callable[[str, str], str],
    ) -> None:
        self._name, self._advertise, self._balancer = name, tuple(advertise), balancer
        self._serves, self._clients, self._state = serves, clients, state
        self._combiners, self._ticket = combiners, ticket
        self._own: tuple[str, ...] = ()
        self._turns = count()
        self._asked: OrderedDict[tuple[str, str], tuple[float, pb.LocateRequest]] = OrderedDict()

    def listens(self, address: str) -> None:
        """What this server's own address has become."""
        self._own = (_reachable(address),)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where this server itself is reached."""
        return self._advertise or self._own

    def place(self, project: str, name: str, attributes: Mapping[str, str]) -> pb.LocateReply:
        """Where a client that says hello here is to be: `here`, at a combiner, or nowhere yet."""
        request = pb.LocateRequest(project=project, name=name, attributes=attributes)
        known = self._asked.get((project, name))
        if known is not None and known[0] > time.monotonic() - REMEMBERED:
            request.unreachable.extend(known[1].unreachable)
            request.latency.update(known[1].latency)
        return self._located(request)

    def locate(self, request: pb.LocateRequest) -> pb.LocateReply:
        """Where the client is to connect, or how long it is to wait. What it cannot reach is remembered for a while."""
        if request.unreachable or request.latency:
            self._asked[request.project or "default", request.name] = time.monotonic(), request
            if len(self._asked) > MOST:
                self._asked.popitem(last=False)
        return self._located(request)

    def moves(self, clients: Mapping[str, tuple[str, ClientView]]) -> Iterator[tuple[str, ServerView]]:
        """Of clients, by id, each with the name of its server: who goes where, so that no server has two more than another.

        A balancer that has its reasons for a place (locality, hashing) is asked, and a client moves only if it agrees.
        """
        servers = {server.name: server for server in self._servers()}
        for id_, (current, client) in clients.items():
            found = self._balancer.assign(client, list(servers.values()))
            mine = servers.get(current)
            if found is None or mine is None or found.name == current or mine.clients - found.clients <= 1:
                continue
            servers[current] = replace(mine, clients=mine.clients - 1)
            servers[found.name] = replace(found, clients=found.clients + 1)
            yield id_, found

    def view(self, project: str, name: str, attributes: Mapping[str, str]) -> ClientView:
        """A client as a balancer sees it."""
        seed = int.from_bytes(sha256(f"{project}/{name}".encode()).digest()[:8])
        return ClientView(name=name, attributes=dict(attributes), seed=seed, turn=next(self._turns))

    def _servers(self) -> list[ServerView]:
        return [*([self._this()] if self._serves else []), *self._combiners()]

    def _located(self, request: pb.LocateRequest) -> pb.LocateReply:
        servers = self._servers()
        client = replace(
            self.view(request.project, request.name, request.attributes),
            unreachable=frozenset(request.unreachable),
            latency=_latencies(request.latency, servers),
        )
        found = self._balancer.assign(client, servers)
        if found is None:
            return pb.LocateReply(wait=WAIT)
        if found.root:
            return pb.LocateReply(addresses=found.addresses, here=True)
        ticket = self._ticket(f"{request.project or 'default'}/{request.name}", found.name)
        return pb.LocateReply(addresses=found.addresses, ticket=ticket)

    def _this(self) -> ServerView:
        return ServerView(
            name=self._name,
            clients=self._clients(),
            state=self._state(),
            root=True,
            addresses=self.addresses,
        )


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
