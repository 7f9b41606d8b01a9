"""/combiners: the aggregation servers between this one and its clients."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fedk.admin.page import flag
from fedk.admin.queries import combiners
from fedk.admin.services import Services, services
from fedk.admin.waiting import while_wanted


async def listed(request: Request) -> Response:
    here = services(request)
    async with here.store.reading() as db:
        found = await combiners.listed(db, _live(here))
    return JSONResponse({"combiners": found})


async def show(request: Request) -> Response:
    here = services(request)
    async with here.store.reading() as db:
        found = await combiners.detail(db, request.path_params["name"], _live(here))
    return JSONResponse(found)


async def drain(request: Request) -> Response:
    """Its clients go elsewhere, and what it holds comes here; it gets no client any more. `wait=true`: until it is empty."""
    desk, name = services(request).running(), request.path_params["name"]
    await desk.drain_combiner(name)
    if flag(request, "wait"):
        await while_wanted(request, desk.drained(name))
    return await show(request)


async def rebalance(request: Request) -> Response:
    """Clients go from servers with many to those with few."""
    return JSONResponse({"moved": services(request).running().rebalance()})


def _live(here: Services) -> combiners.Live:
    return here.desk.combiners_now() if here.desk is not None else {}


routes = [
    Route("/combiners", listed),
    Route("/combiners/rebalance", rebalance, methods=["POST"]),
    Route("/combiners/{name}", show),
    Route("/combiners/{name}/drain", drain, methods=["POST"]),
]
