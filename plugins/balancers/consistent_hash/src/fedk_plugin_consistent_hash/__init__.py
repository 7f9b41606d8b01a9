"""Places a client by its name on a ring of servers, with bounded loads."""

from bisect import bisect
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import sha256

from pydantic import Field

from fedk.api.balancer import Balancer, ClientView, ServerView
from fedk.api.config import Config


class ConsistentHashConfig(Config):
    """How even, and how fine."""

    c: float = Field(1.25, gt=1, description="no server takes more than c times the mean number of clients; inf: any")
    points: int = Field(128, ge=1, le=4096, description="points of each server on the ring: more are more even")


class ConsistentHash(Balancer[ConsistentHashConfig]):
    """The next open server on the ring (Karger 1997) with fewer than c·m/n clients, this one counted in m (Mirrokni 2018, 1.1)."""

    def assign(self, client: ClientView, servers: Sequence[ServerView]) -> ServerView | None:
        live = [one for one in servers if one.state == "live"]
        takers = {one.name: one for one in live if one.takes(client)}
        if not takers:
            return None
        # clients < c·m/n and clients + 1 ≤ ⌈c·m/n⌉ are the same for whole numbers, and inf has no ceiling
        bound = self.config.c * (sum(one.clients for one in live) + 1) / len(live)
        along = list(self._along(client, takers))
        within = (takers[name] for name in along if takers[name].clients < bound)
        return next(within, takers[along[0]])  # what the client cannot reach may be all the room within the bound

    def _along(self, client: ClientView, takers: dict[str, ServerView]) -> Iterator[str]:
        """The servers' names in the order in which the ring meets them from the client's point on, each once."""
        places, names = _ring(tuple(sorted(takers)), self.config.points)
        start = bisect(places, _place(f"{client.seed}/{client.name}"))
        yield from dict.fromkeys(names[start:] + names[:start])


@lru_cache(maxsize=16)  # pure, and 10 servers of 128 points take a millisecond
def _ring(servers: tuple[str, ...], points: int) -> tuple[list[int], list[str]]:
    """Places in rising order, and whose they are."""
    ring = sorted((_place(f"{name}#{number}"), name) for name in servers for number in range(points))
    return [place for place, _ in ring], [name for _, name in ring]


def _place(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:8])
