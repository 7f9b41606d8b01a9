"""The way to an application of this process: as HTTP is, but for the wire."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fedk.cli.inprocess import InProcess


def client(*routes: Route) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=InProcess(Starlette(routes=list(routes))), base_url="http://here")


async def test_an_answer_is_read_while_the_application_still_makes_it() -> None:
    made, ended = [0], asyncio.Event()

    async def endless(_: Scope, __: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                made[0] += 1
                await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
        finally:
            ended.set()

    async with httpx2.AsyncClient(transport=InProcess(endless), base_url="http://here") as http:
        async with http.stream("GET", "/") as answer:
            assert len(await anext(answer.aiter_bytes())) == 1000
            assert made[0] < 5  # what is not read is not made
        await ended.wait()  # who stops reading ends the work


async def test_a_body_arrives_in_pieces_and_the_query_as_it_was_sent() -> None:
    async def path(request: Request) -> Response:
        sizes = [len(chunk) async for chunk in request.stream() if chunk]
        return PlainTextResponse(f"{sizes} {request.query_params['ref']} {request.path_params['name']}")

    async def body() -> AsyncIterator[bytes]:
        yield b"abc"
        yield b"de"

    async with client(Route("/{name:path}", path, methods=["POST"])) as http:
        answer = await http.post("/digits%201/2", content=body(), params={"ref": "a/b &c"})
    assert answer.text == "[3, 2] a/b &c digits 1/2"


async def test_what_the_application_raises_is_raised_where_it_is_asked() -> None:
    async def path(_: Request) -> Response:
        raise ZeroDivisionError("here")

    async with client(Route("/", path)) as http:
        with pytest.raises(ZeroDivisionError, match="here"):
            await http.get("/")
