"""Places a client on a server of its own place."""

from collections.abc import Iterable, Sequence
from math import inf
from typing import Literal

from pydantic import Field

from fedk.api.balancer import Balancer, ClientView, ServerView
from fedk.api.config import Config


class LocalityConfig(Config):
    """What says where somebody is, and what happens where nobody is near."""

    attribute: str = Field("region", min_length=1, description="the client's attribute that says where it is")
    server_attribute: str = Field("", description="the servers' attribute to compare it with; empty: of the same name")
    fallback: Literal["least-loaded", "nearest", "wait"] = Field(
        "least-loaded",
        description="where no server of that place is open: the one with the fewest clients, the one with the least "
        "latency that the client measured, or none",
    )


class Locality(Balancer[LocalityConfig]):
    """The server with the fewest clients among those of the client's place; else what `fallback` says."""

    def assign(self, client: ClientView, servers: Sequence[ServerView]) -> ServerView | None:
        takers = [one for one in servers if one.takes(client)]
        near = _emptiest(one for one in takers if self._is_near(one, client))
        if near is not None or self.config.fallback == "wait":
            return near
        if self.config.fallback == "least-loaded":
            return _emptiest(takers)
        return min(takers, key=lambda one: (client.latency.get(one.name, inf), one.clients, one.name), default=None)

    def _is_near(self, server: ServerView, client: ClientView) -> bool:
        place = client.attributes.get(self.config.attribute)
        theirs = self.config.server_attribute or self.config.attribute
        return place is not None and server.attributes.get(theirs) == place


def _emptiest(servers: Iterable[ServerView]) -> ServerView | None:
    return min(servers, key=lambda one: (one.clients, one.name), default=None)
