"""Places clients on the servers in turn."""

from collections.abc import Sequence

from fedk.api.balancer import Balancer, ClientView, ServerView
from fedk.api.config import Config


class RoundRobin(Balancer[Config]):
    """The open server whose turn it is, in the order of their names.

    Of those that are open, not of all: the neighbour of a full server would get its share on top of its own.
    """

    def assign(self, client: ClientView, servers: Sequence[ServerView]) -> ServerView | None:
        takers = sorted((one for one in servers if one.takes(client)), key=lambda one: one.name)
        return takers[client.turn % len(takers)] if takers else None
