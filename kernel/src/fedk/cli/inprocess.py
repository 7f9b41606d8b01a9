"""Requests to an application of this process. Answers stream: a model of any size passes through, piece by piece."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
from starlette.types import ASGIApp, Message, Scope


class InProcess(httpx2.AsyncBaseTransport):
    """httpx2's own ASGITransport holds whole answers, and waits for their end: event streams have none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = _Answer(request)
        answer.task = asyncio.create_task(answer.run(self._app))
        status, headers = await answer.head
        return httpx2.Response(status, headers=headers, stream=answer)


class _Answer(httpx2.AsyncByteStream):
    """One request's answer: the application fills it as it is read."""

    task: asyncio.Task[None]

    def __init__(self, request: httpx2.Request) -> None:
        self._request, self._scope = request, _scope(request)
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self.head: asyncio.Future[tuple[int, Any]] = asyncio.get_running_loop().create_future()
        assert isinstance(request.stream, httpx2.AsyncByteStream)  # noqa: S101  # of an AsyncClient it always is
        self._body = aiter(request.stream)
        self._error: Exception | None = None
        self._ended = False  # its body

    async def run(self, app: ASGIApp) -> None:
        try:
            await app(self._scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001  # raised again where the answer is read
            self._error = error
        if not self.head.done():
            self.head.set_exception(self._error or RuntimeError("the application gave no answer"))
        await self._chunks.put(None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (chunk := await self._chunks.get()) is not None:
            yield chunk
        if self._error is not None:
            raise self._error

    async def aclose(self) -> None:
        """Who stops reading ends the application's work on it, as a closed connection does."""
        self.task.cancel()
        await asyncio.wait({self.task})

    async def _receive(self) -> Message:
        try:
            return {"type": "http.request", "body": await anext(self._body), "more_body": True}
        except StopAsyncIteration:
            if not self._ended:
                self._ended = True
                return {"type": "http.request", "body": b"", "more_body": False}
        never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        return await never  # nothing more is to be heard: who leaves cancels this task

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.head.set_result((message["status"], message.get("headers", [])))
        elif message.get("body") and self._request.method != "HEAD":
            await self._chunks.put(bytes(message["body"]))


def _scope(request: httpx2.Request) -> Scope:
    path, _, query = request.url.raw_path.partition(b"?")
    return {
        "type": "http",
        "asgi": {
            "version": "3.0",
            "spec_version": "2.4",
        },  # 2.4: a response is not told of a disconnect, it is cancelled
        "http_version": "1.1",
        "method": request.method,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": path,
        "query_string": query,
        "server": (request.url.host, request.url.port),
        "client": None,
        "root_path": "",
    }
