"""/healthz: the loop turns. /readyz: what is not ready, by name."""

import asyncio
import shutil
from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fedk.admin.queries import projects
from fedk.admin.services import Services, services
from fedk.api.errors import FedkError
from fedk.state import tables as t
from fedk.state.store import Store

_NO_BLOB = bytes(32)


async def alive(_: Request) -> Response:
    """Asks neither database nor storage: a restart would help neither."""
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> Response:
    """200, or 503 naming each that is not ready and why."""
    here = services(request)
    wrong = {**await _db(here), **await _storage(here), **await _spool(here)}
    return JSONResponse({"status": "not ready", **wrong} if wrong else {"status": "ok"}, 503 if wrong else 200)


async def _db(here: Services) -> dict[str, str]:
    try:
        async with here.store.reading() as db:
            await db.execute(select(1))
            return await _schema(db)
    except (FedkError, SQLAlchemyError, OSError) as error:
        return {"db": str(error)}


async def _schema(db: AsyncConnection) -> dict[str, str]:
    try:
        await db.execute(select(t.schema_info.c.id).limit(1))
        await db.execute(select(t.events.c.seq).limit(1))
    except SQLAlchemyError as error:
        return {"schema": f"{error}. fedk db upgrade"}
    return {}


async def _storage(here: Services) -> dict[str, str]:
    try:
        await here.blobs.exists(projects.DEFAULT, _NO_BLOB)
    except (FedkError, OSError) as error:
        return {"storage": str(error)}
    return {}


async def _spool(here: Services) -> dict[str, str]:
    """Results need room: without it every one would be refused."""
    folder, wanted = here.settings.server.data_dir, here.settings.limits.message_bytes
    try:
        free = (await asyncio.to_thread(shutil.disk_usage, folder)).free
    except OSError as error:
        return {"spool": f"{folder}: {error.strerror}"}
    return {"spool": f"{free:,} bytes are free in {folder}"} if free < wanted else {}


def combiner_app(store: Store, attached: Callable[[], bool]) -> Starlette:
    """A combiner's: what it has of its own is its database and its parent."""

    async def ready_for_clients(_: Request) -> Response:
        try:
            async with store.reading() as db:
                wrong = await _schema(db)
        except (FedkError, SQLAlchemyError, OSError) as error:
            wrong = {"db": str(error)}
        if not attached():
            wrong["parent"] = "away: clients that are here go on, others wait"
        return JSONResponse({"status": "not ready", **wrong} if wrong else {"status": "ok"}, 503 if wrong else 200)

    return Starlette(routes=[Route("/healthz", alive), Route("/readyz", ready_for_clients)])


routes = [Route("/healthz", alive), Route("/readyz", ready)]
