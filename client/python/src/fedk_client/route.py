"""The route: which server this client dials next."""

from collections.abc import Iterable
from itertools import islice

from fedk_protocol.address import is_dialled
from fedk_protocol.v1 import federation_pb2 as pb

_HOPS = 8  # times in a row that servers may send this client on at once: more tiers than a federation has

_MOST = 64  # addresses of one reply: each that cannot be reached takes up to 5 s


class Route:
    """`home` is the address that was given; servers send clients on from there."""

    def __init__(self, home: str) -> None:
        self.home = home
        self._stops: list[tuple[str, str]] = []  # addresses, with tickets
        self._hops = 0
        self.missed: list[str] = []
        """Addresses that could not be reached, and that no server has heard of."""

    @property
    def next(self) -> tuple[str, str]:
        """Address and ticket."""
        return self._stops[0] if self._stops else (self.home, "")

    @property
    def is_home(self) -> bool:
        return not self._stops

    @property
    def is_long(self) -> bool:
        """Whether it may be a circle, which is gone at leisure."""
        return self._hops > _HOPS

    def lead(self, addresses: Iterable[str], ticket: str) -> None:
        """To one of these, in this order; of none, home."""
        self._stops = [(address, ticket) for address in _dialled(addresses)]
        self._hops = self._hops + 1 if self._stops else 0

    def leave(self) -> None:
        """To the next address: the stream to this one has ended."""
        self._stops, self._hops = self._stops[1:], 0

    def miss(self) -> None:
        """To the next address: this one cannot be reached."""
        self.missed.append(self.next[0])
        self._stops = self._stops[1:]

    def follow(self, reply: pb.LocateReply) -> bool:
        """To where `home` says; False when that is nowhere, or nowhere else: one that names what was missed has no other."""
        addresses = [address for address in _dialled(reply.addresses) if address not in self.missed]
        if reply.here or not addresses:
            self.missed.clear()
            return reply.here
        self.lead(addresses, reply.ticket)
        return True

    def arrive(self) -> None:
        """A server has taken this client in. It may send it on all the same, and has its hop counted."""
        self.missed.clear()


def _dialled(addresses: Iterable[str]) -> list[str]:
    """Nothing else that gRPC would dial."""
    return list(filter(is_dialled, dict.fromkeys(islice(addresses, _MOST))))
