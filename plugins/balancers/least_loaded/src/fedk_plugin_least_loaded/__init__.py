"""Places a client on the server with the fewest clients."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from fedk.api.balancer import Balancer, ClientView, ServerView
from fedk.api.config import Config


class LeastLoadedConfig(Config):
    """What counts as load."""

    by: Literal["clients", "load"] = Field("clients", description="number of clients, or the load that servers report")


class LeastLoaded(Balancer[LeastLoadedConfig]):
    """The server with the fewest clients among those that are open to this one; of equals, the first by name."""

    def assign(self, client: ClientView, servers: Sequence[ServerView]) -> ServerView | None:
        return min((server for server in servers if server.takes(client)), key=self._rank, default=None)

    def _rank(self, server: ServerView) -> tuple[float, int, str]:
        """Load first if asked: it lags behind the placements, so that equals still share by number."""
        return (server.load if self.config.by == "load" else 0.0), server.clients, server.name
