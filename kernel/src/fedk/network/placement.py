"""Placement: which server serves a client. The balancer decides among those that are live; here that is this one."""

import ipaddress
import socket
from collections.abc import Callable, Sequence
from hashlib import sha256
from itertools import count
from typing import Any

from fedk.api.balancer import Balancer, ClientView, ServerView
from fedk.settings import host_port
from fedk_protocol.v1 import federation_pb2 as pb

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
        clients: Callable[[], int],
        state: Callable[[], str],
    ) -> None:
        self._name, self._advertise, self._balancer = name, tuple(advertise), balancer
        self._clients, self._state = clients, state
        self._own: tuple[str, ...] = ()
        self._turns = count()

    def listens(self, address: str) -> None:
        """What this server's own address has become."""
        self._own = (_reachable(address),)

    def locate(self, request: pb.LocateRequest) -> pb.LocateReply:
        """Where the client is to connect, or how long it is to wait."""
        client = ClientView(
            name=request.name,
            attributes=dict(request.attributes),
            unreachable=frozenset(request.unreachable),
            latency={self._name: min(request.latency.values())} if request.latency else {},
            seed=int.from_bytes(sha256(f"{request.project}/{request.name}".encode()).digest()[:8]),
            turn=next(self._turns),
        )
        found = self._balancer.assign(client, [self._this()])
        return pb.LocateReply(wait=WAIT) if found is None else pb.LocateReply(addresses=found.addresses)

    def _this(self) -> ServerView:
        return ServerView(
            name=self._name,
            clients=self._clients(),
            state=self._state(),
            root=True,
            addresses=self._advertise or self._own,
        )


def _reachable(address: str) -> str:
    """An address that listens everywhere is none to dial: this machine's name, then."""
    host, port = host_port(address)
    try:
        everywhere = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        everywhere = False
    return f"{socket.gethostname()}:{port}" if everywhere else address
