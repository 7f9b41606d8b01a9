"""/clients: who there is, and what they do."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fedk.admin.queries import clients
from fedk.admin.services import project, services


async def listed(request: Request) -> Response:
    here = services(request)
    async with here.reading(project(request)) as db:
        found = await clients.listed(db, project(request), served=here.desk is not None)
    return JSONResponse({"clients": found})


async def show(request: Request) -> Response:
    here = services(request)
    async with here.reading(project(request)) as db:
        row = await clients.find(db, project(request), request.path_params["ref"])
        found = await clients.detail(db, row, served=here.desk is not None)
    return JSONResponse(found)


routes = [Route("/clients", listed), Route("/clients/{ref}", show)]
