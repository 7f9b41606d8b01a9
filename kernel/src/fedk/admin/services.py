"""What the paths answer from."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request

from fedk.admin.queries import projects
from fedk.api.errors import Conflict
from fedk.blobs.store import Blobs
from fedk.catalogue import Catalogue
from fedk.rounds.desk import Desk
from fedk.rounds.replay import Replays
from fedk.settings import Settings
from fedk.state.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The rooms below, as the application was given them."""

    store: Store
    blobs: Blobs
    catalogue: Catalogue
    desk: Desk | None  # None: nothing runs here, a directory is only read
    settings: Settings
    replays: Replays

    def running(self) -> Desk:
        """Where sessions are steered; Conflict where a directory is only read."""
        if self.desk is None:
            where = self.settings.server.data_dir
            raise Conflict(
                f"{where} is only read here. Start a server to change it: FEDK_SERVER__DATA_DIR={where} fedk server"
            )
        return self.desk

    @asynccontextmanager
    async def reading(self, project: str) -> AsyncIterator[AsyncConnection]:
        """A connection that reads; NotFound where there is no such project."""
        async with self.store.reading() as db:
            await projects.check(db, project)
            yield db


def services(request: Request) -> Services:
    """Those of the application that got the request."""
    found: Services = request.app.state.services
    return found


def project(request: Request) -> str:
    """The tenant that the request is about."""
    return request.query_params.get("project", projects.DEFAULT)
