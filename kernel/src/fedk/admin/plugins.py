"""/plugins: what is installed, in which state, and why."""

from dataclasses import asdict

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fedk.admin.services import services


async def listed(request: Request) -> Response:
    found = await run_in_threadpool(services(request).catalogue.entries)  # it looks for files
    return JSONResponse({"plugins": [asdict(info) for info in found]})


async def show(request: Request) -> Response:
    """Imports nothing: the keys of a plugin are known once it is loaded."""
    kind, name = request.path_params["kind"], request.path_params["name"]
    return JSONResponse(asdict(await run_in_threadpool(services(request).catalogue.show, name, kind)))


routes = [Route("/plugins", listed), Route("/plugins/{kind}/{name}", show)]
