"""Places a client on a server drawn at random."""

from collections.abc import Sequence
from random import Random as Generator

from fedk.api.balancer import Balancer, ClientView, ServerView
from fedk.api.config import Config


class Random(Balancer[Config]):
    """One of the open servers, each with the same chance, drawn from the client's seed."""

    def assign(self, client: ClientView, servers: Sequence[ServerView]) -> ServerView | None:
        takers = sorted((one for one in servers if one.takes(client)), key=lambda one: one.name)
        return Generator(client.seed).choice(takers) if takers else None  # noqa: S311  # nobody gains by guessing
