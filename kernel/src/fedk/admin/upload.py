"""A model on its way in: checked as it arrives, as every result is, and stored once it is whole."""

import asyncio
from collections.abc import AsyncIterator

from starlette.exceptions import HTTPException
from starlette.requests import Request

from fedk.aggregation.expected import Expected
from fedk.aggregation.intake import Intake
from fedk.api.errors import Refused
from fedk.blobs.part import Part, Stored

CHUNK = 4 * 2**20
"""Bytes for one hop to a worker thread; what an upload takes of memory."""


async def received(request: Request, part: Part, *, limit: int) -> Stored:
    """The body as a durable blob. Refused where it is no model, or one with NaN or infinity."""
    size = _announced(request, limit)
    try:
        intake = Intake(Expected(None), {"model": size})
        async for chunk in _chunks(request):
            await asyncio.to_thread(_take, intake, part, chunk)
        intake.finish()
        return await asyncio.to_thread(part.seal)
    finally:
        await asyncio.to_thread(part.abandon)


def _take(intake: Intake, part: Part, chunk: bytearray) -> None:
    intake.feed(memoryview(chunk))
    part.write(chunk)


def _announced(request: Request, limit: int) -> int:
    text = request.headers.get("content-length", "")
    if not text.isascii() or not text.isdigit():
        raise HTTPException(411, "a model needs a Content-Length: send a file, not a stream of unknown length")
    if len(text) > 18 or int(text) > limit:  # noqa: PLR2004  # digits of 2⁶³
        raise HTTPException(413, f"the model has {text} bytes, the most is {limit:,} (limits.spool_bytes)")
    if int(text) == 0:
        raise Refused("bad-format", "the body is empty: it wants a safetensors file")
    return int(text)


async def _chunks(request: Request) -> AsyncIterator[bytearray]:
    waiting = bytearray()
    async for data in request.stream():
        waiting += data
        if len(waiting) >= CHUNK:
            yield waiting
            waiting = bytearray()
    if waiting:
        yield waiting
