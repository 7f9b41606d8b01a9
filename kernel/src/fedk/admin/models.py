"""/models: list, read, put, get bytes, check."""

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Row
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from fedk.admin.check import Check
from fedk.admin.page import MOST, flag, number
from fedk.admin.queries import models, trail
from fedk.admin.services import Services, project, services
from fedk.admin.upload import received
from fedk.admin.waiting import while_wanted
from fedk.aggregation.model import Model
from fedk.api.errors import BlobError
from fedk.blobs.reader import Span
from fedk.rounds import collected

SUFFIX = ".safetensors"


class _Bytes(FileResponse):
    chunk_size = 2**20  # each chunk costs a hop to a thread; 64 KiB halve the throughput


async def listed(request: Request) -> Response:
    limit = number(request, "limit", 100, least=1, most=MOST)
    async with services(request).reading(project(request)) as db:
        found = await models.listed(db, project(request), request.query_params.get("session"), limit)
    return JSONResponse({"models": found})


async def show(request: Request) -> Response:
    """With the tensors, where its bytes are whole."""
    here, row = services(request), await _found(request)
    tensors = await _tensors(here, row)
    if tensors["damaged"] and (gone := await _gone(here, row)):
        tensors |= {"damaged": "", "collected": gone}
    return JSONResponse({**models.document(row), **tensors})


async def put(request: Request) -> Response:
    """The body is a safetensors file."""
    here = services(request)
    desk, tenant = here.running(), project(request)
    async with here.reading(tenant):
        pass  # an unknown project is refused before the bytes come
    # an update is as large as its model: one beyond the spool's limit could never be answered
    with here.blobs.hold() as hold:
        stored = await received(request, hold.part(tenant), limit=here.settings.limits.spool_bytes)
        model = await desk.put_model(tenant, stored)
        await asyncio.to_thread(hold.settle)
    async with here.reading(tenant) as db:
        row = await models.find(db, tenant, model)
    document = {**models.document(row), **await _tensors(here, row)}
    return JSONResponse(document, status_code=201, headers={"location": f"/api/v1/models/{model}"})


async def content(request: Request) -> Response:
    """The bytes: a safetensors file. Ranges are answered, so that a broken download can go on."""
    row = await _found(request)
    tag = f'"{row.sha256.hex()}"'
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers={"etag": tag})
    span = await _span(services(request), row)
    name = models.name(row).replace("/", "-") + SUFFIX
    return _Bytes(span.path, media_type="application/octet-stream", filename=name, headers={"etag": tag})


async def check(request: Request) -> Response:
    """Hashes the bytes again, and computes the digest again: "" or what is wrong. `?replay=true`: makes it again too."""
    here, row = services(request), await _found(request)
    again = flag(request, "replay")
    async with here.store.reading() as db:
        digest = await trail.digest(db, row) if row.session is not None else row.digest
    wrong = "" if digest == row.digest else f"its digest is {row.digest.hex()}, its rows give {_hex(digest)}"
    damage = await _damage(here, row)
    gone = await _gone(here, row) if damage or row.collected else ""
    checked = Check(bytes="" if gone else damage, digest=wrong, collected=gone)
    if again and not (checked.bytes or checked.collected):
        checked = replace(checked, replayed=await while_wanted(request, here.replays.replay(row.id)))
    return JSONResponse({"id": row.id, "ref": models.name(row), **checked.document()})


async def _span(here: Services, row: Row[Any]) -> Span:
    """BlobError; Collected where a rule has dropped them, perhaps since the row was read."""
    try:
        return await here.blobs.span(row.project, row.sha256)
    except BlobError:
        async with here.store.reading() as db:
            await collected.check(db, row)
        raise


async def _gone(here: Services, row: Row[Any]) -> str:
    """By which rule its bytes were collected, perhaps since the row was read; "" where they were not."""
    async with here.store.reading() as db:
        return collected.by((await models.find(db, row.project, row.id)).collected)


async def _damage(here: Services, row: Row[Any]) -> str:
    if row.collected:
        return ""
    try:
        span = await here.blobs.span(row.project, row.sha256)
        found = await asyncio.to_thread(_sha256, span.path)  # span() may remember an earlier look
    except BlobError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    return "" if found == row.sha256 else f"{span.path} has the hash {found.hex()}"


def _sha256(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _hex(digest: bytes | None) -> str:
    return digest.hex() if digest is not None else "none: its parent's row is gone"


async def _tensors(here: Services, row: Row[Any]) -> dict[str, Any]:
    if row.collected:
        return {"tensors": None, "weights": None, "damaged": ""}
    try:
        span = await here.blobs.span(row.project, row.sha256)
        with await asyncio.to_thread(Model.open, span) as model:
            layout = model.layout
    except BlobError as error:
        return {"tensors": None, "weights": None, "damaged": str(error)}
    tensors = [{"name": n, "dtype": str(layout[n].dtype), "shape": list(layout[n].shape)} for n in layout.order]
    return {"tensors": tensors, "weights": sum(tensor.size for tensor in layout.tensors), "damaged": ""}


async def _found(request: Request) -> Row[Any]:
    async with services(request).reading(project(request)) as db:
        return await models.find(db, project(request), request.path_params["ref"])


routes = [
    Route("/models", listed),
    Route("/models", put, methods=["POST"]),
    Route("/models/{ref:path}/content", content),
    Route("/models/{ref:path}/check", check),
    Route("/models/{ref:path}", show),
]
