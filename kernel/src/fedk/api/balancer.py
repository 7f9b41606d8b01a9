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


@dataclass(frozen=True, slots=True)
class ServerView:
    """What a balancer may know of a live server that could take the client."""

    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    clients: int = 0
    capacity: int | None = None  # clients; None: no limit set
    load: float = 0.0  # 0 … 1, as the server reports it
    state: str = "live"  # live | draining
    root: bool = False
    addresses: tuple[str, ...] = ()


class Balancer(Driver[C], ABC):
    """Pure: equal input, equal answer; randomness from `client.seed` only."""

    @abstractmethod
    def assign(self, client: ClientView, servers: Sequence[ServerView]) -> ServerView | None:
        """One of `servers`, live, reachable and below its capacity; None: the client waits, and that is shown."""
