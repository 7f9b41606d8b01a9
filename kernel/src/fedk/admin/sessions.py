"""/sessions: start, list, read, pause, resume, stop."""

from typing import Any

from sqlalchemy import Row
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fedk.admin import body
from fedk.admin.apart import apart
from fedk.admin.body import Body
from fedk.admin.document import document
from fedk.admin.page import flag, number, page
from fedk.admin.queries import metrics, models, rounds, sessions, trail
from fedk.admin.services import Services, project, services
from fedk.api.errors import Conflict
from fedk.rounds.states import FINAL


async def listed(request: Request) -> Response:
    async with services(request).reading(project(request)) as db:
        return JSONResponse({"sessions": await sessions.listed(db, project(request))})


async def show(request: Request) -> Response:
    return JSONResponse(await _detail(services(request), (await _found(request)).id))


async def start(request: Request) -> Response:
    """`?check=true` says what is wrong with the body, and starts nothing."""
    here, only_check = services(request), flag(request, "check")
    # it imports plugins: rounds and clients do not wait for one that takes seconds, or does not end
    given = await document(request)
    asked = await apart(lambda: body.read(given, here.catalogue))
    desk, tenant = here.running(), project(request)
    model = await _model(here, tenant, asked)
    if only_check:
        return JSONResponse({"rules": asked.rules.model_dump(mode="json", by_alias=True)})
    session = await desk.create(tenant, name=asked.name, stem=asked.stem, rules=asked.rules, model=model)
    where = f"/api/v1/sessions/{session}"
    return JSONResponse(await _detail(here, session), status_code=201, headers={"location": where})


async def pause(request: Request) -> Response:
    session = await _steerable(request)
    await services(request).running().pause(session)
    return JSONResponse(await _detail(services(request), session))


async def resume(request: Request) -> Response:
    """The body may change rules: {"changes": {"round.quorum": 0.6}}."""
    session = await _steerable(request)
    changes = body.table(await document(request)).get("changes", {})
    await services(request).running().resume(session, body.table(changes))
    return JSONResponse(await _detail(services(request), session))


async def stop(request: Request) -> Response:
    session = await _steerable(request)
    await services(request).running().stop(session)
    return JSONResponse(await _detail(services(request), session))


async def rounds_of(request: Request) -> Response:
    session, asked = (await _found(request)).id, page(request)
    async with services(request).reading(project(request)) as db:
        found = await rounds.listed(db, session, asked)
    return JSONResponse({"rounds": found, "next": found[-1]["round"] if len(found) == asked.limit else None})


async def trail_of(request: Request) -> Response:
    session, asked = (await _found(request)).id, page(request)
    async with services(request).reading(project(request)) as db:
        found = await trail.links(db, session, asked)
    return JSONResponse({"models": found, "next": found[-1]["round"] if len(found) == asked.limit else None})


async def metrics_of(request: Request) -> Response:
    """Means by round and name; with `?round=N` what each client reported of model N."""
    session = (await _found(request)).id
    round_ = number(request, "round", -1, least=0, most=2**31)
    async with services(request).reading(project(request)) as db:
        if round_ >= 0:
            return JSONResponse({"metrics": await metrics.by_client(db, session, round_)})
        means = await metrics.paged(db, session, page(request))
    rows = [{"round": no, "name": name, **mean} for no, names in means.items() for name, mean in names.items()]
    return JSONResponse({"metrics": rows})


async def _found(request: Request) -> Row[Any]:
    async with services(request).reading(project(request)) as db:
        return await sessions.find(db, project(request), request.path_params["ref"])


async def _steerable(request: Request) -> str:
    """The id; Conflict, by its name, where the session has ended for good."""
    here = services(request)
    here.running()
    row = await _found(request)
    if row.status in FINAL:
        onwards = f': start another one, model = "{row.name}/{row.head_round}"' if row.head_model is not None else ""
        raise Conflict(f"session {row.name} is {row.status}, and has ended for good{onwards}")
    return str(row.id)


async def _detail(here: Services, session: str) -> dict[str, Any]:
    """The session as its rows say, and what only the running server knows."""
    async with here.store.reading() as db:
        detail = await sessions.detail(db, session)
    desk = here.desk
    return {**detail, "waiting_for": desk.waiting_for(session) if desk is not None else []}


async def _model(here: Services, tenant: str, asked: Body) -> str | None:
    if asked.model is None:
        return None
    async with here.reading(tenant) as db:
        return str((await models.find(db, tenant, asked.model)).id)


routes = [
    Route("/sessions", listed),
    Route("/sessions", start, methods=["POST"]),
    Route("/sessions/{ref}", show),
    Route("/sessions/{ref}/rounds", rounds_of),
    Route("/sessions/{ref}/trail", trail_of),
    Route("/sessions/{ref}/metrics", metrics_of),
    Route("/sessions/{ref}/pause", pause, methods=["POST"]),
    Route("/sessions/{ref}/resume", resume, methods=["POST"]),
    Route("/sessions/{ref}/stop", stop, methods=["POST"]),
]
