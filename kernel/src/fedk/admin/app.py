"""The administration's application. Served by uvicorn beside a runner, or asked in process over a directory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount, Route

from fedk.admin import clients, combiners, errors, events, health, models, pages, sessions
from fedk.admin import plugins as plugin_paths
from fedk.admin.services import Services
from fedk.api.hooks import AsgiApp
from fedk.blobs.store import Blobs
from fedk.catalogue import Catalogue
from fedk.rounds.desk import Desk
from fedk.rounds.replay import Replays
from fedk.settings import Settings
from fedk.state.store import Store

V1: list[Route] = [
    *sessions.routes,
    *models.routes,
    *clients.routes,
    *combiners.routes,
    *plugin_paths.routes,
    *events.routes,
]
"""Everything below /api/v1."""


TAKEN = ("/api", "/healthz", "/readyz", "/plugins", "/sessions")
"""What no plugin may answer."""


def admin_app(
    *,
    store: Store,
    blobs: Blobs,
    catalogue: Catalogue,
    desk: Desk | None,
    settings: Settings,
    replays: Replays,
    plugins: Mapping[str, AsgiApp] | None = None,
) -> Starlette:
    """Without a desk every path that only reads works; the others answer 409 and say how to get one.

    `plugins`: by path, the applications that hook plugins add.
    """
    added = [route for path, app in (plugins or {}).items() for route in (Route(path, _Whole(app)), Mount(path, app))]
    routes = [*health.routes, *pages.routes, Mount("/api/v1", routes=V1), *added]
    app = Starlette(routes=routes, exception_handlers=errors.HANDLERS)
    app.state.services = Services(
        store=store, blobs=blobs, catalogue=catalogue, desk=desk, settings=settings, replays=replays
    )
    return app


@dataclass(frozen=True, slots=True)
class _Whole:
    """An application at one path: Starlette takes a bare function for an endpoint of its own kind."""

    app: AsgiApp

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)
