"""The administration's application. Served by uvicorn beside a runner, or asked in process over a directory."""

from starlette.applications import Starlette
from starlette.routing import Mount, Route

from fedk.admin import clients, errors, events, health, models, plugins, sessions
from fedk.admin.services import Services
from fedk.blobs.store import Blobs
from fedk.catalogue import Catalogue
from fedk.rounds.desk import Desk
from fedk.settings import Settings
from fedk.state.store import Store

V1: list[Route] = [*sessions.routes, *models.routes, *clients.routes, *plugins.routes, *events.routes]
"""Everything below /api/v1."""


def admin_app(*, store: Store, blobs: Blobs, catalogue: Catalogue, desk: Desk | None, settings: Settings) -> Starlette:
    """Without a desk every path that only reads works; the others answer 409 and say how to get one."""
    app = Starlette(routes=[*health.routes, Mount("/api/v1", routes=V1)], exception_handlers=errors.HANDLERS)
    app.state.services = Services(store=store, blobs=blobs, catalogue=catalogue, desk=desk, settings=settings)
    return app
