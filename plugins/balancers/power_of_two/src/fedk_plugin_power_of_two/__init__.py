"""Places a client on the less loaded of two servers drawn at random."""

from collections.abc import Sequence
from random import Random
from typing import Literal

from pydantic import Field

from fedk.api.balancer import Balancer, ClientView, ServerView
from fedk.api.config import Config


class PowerOfTwoConfig(Config):
    """How many are drawn, and what counts as load."""

    choices: int = Field(2, ge=1, le=100, description="how many servers are drawn; 1 is random placement")
    by: Literal["clients", "load"] = Field("clients", description="number of clients, or the load that servers report")


class PowerOfTwo(Balancer[PowerOfTwoConfig]):
    """The less loaded of `choices` different servers (Mitzenmacher 2001); of equals the one drawn first."""

    def assign(self, client: ClientView, servers: Sequence[ServerView]) -> ServerView | None:
        takers = sorted((one for one in servers if one.takes(client)), key=lambda one: one.name)
        drawn = Random(client.seed).sample(takers, min(self.config.choices, len(takers)))  # noqa: S311  # no secret
        return min(drawn, key=self._load, default=None)

    def _load(self, server: ServerView) -> tuple[float, int]:
        """Load first if asked: it lags behind the placements, so that equals still share by number."""
        return (server.load if self.config.by == "load" else 0.0), server.clients
