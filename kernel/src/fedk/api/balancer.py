"""Balancers: which server serves a client."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fedk.api.driver import C, Driver


@dataclass(frozen=True, slots=True)
class ClientView:
    """What a balancer may know of the client to place."""

    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    unreachable: frozenset[str] = frozenset()  # addresses that it could not reach
    latency: Mapping[str, float] = field(default_factory=dict)  # seconds, by server name
    seed: int = 0  # the only source of randomness
    turn: int = 0  # requests for a place before this one, since the server started


@dataclass(frozen=True, slots=True)
class ServerView:
    """What a balancer may know of a server that might take the client."""

    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    clients: int = 0
    capacity: int | None = None  # clients; None: no limit set
    load: float = 0.0  # 0 … 1, as the server reports it
    state: str = "live"  # live | draining | lost
    root: bool = False
    addresses: tuple[str, ...] = ()

    def takes(self, client: ClientView) -> bool:
        """Whether it is open to this client: live, below its capacity and reachable."""
        below = self.capacity is None or self.clients < self.capacity
        return (
            self.state == "live" and below and (not self.addresses or not client.unreachable.issuperset(self.addresses))
        )


class Balancer(Driver[C], ABC):
    """Pure: equal input, equal answer; randomness from `client.seed` only."""

    @abstractmethod
    def assign(self, client: ClientView, servers: Sequence[ServerView]) -> ServerView | None:
        """One of `servers` that takes the client; None: the client waits, and that is shown."""
