"""Errors as JSON: {"error": {"code", "message"}}. The message says thing, reason, choices and next step."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from fedk.admin.body import BadBody
from fedk.api.errors import (
    BlobError,
    Collected,
    ConfigError,
    Conflict,
    FedkError,
    NotFound,
    PluginError,
    Refused,
    StateError,
)

_CODES = {404: "not-found", 405: "method-not-allowed", 411: "length-required", 413: "too-large"}

_ANSWERS: Mapping[type[FedkError], tuple[int, str]] = {
    NotFound: (404, "not-found"),
    Conflict: (409, "conflict"),
    ConfigError: (422, "bad-request"),
    PluginError: (422, "plugin"),
    Refused: (422, "refused"),
    BlobError: (503, "blob"),
    Collected: (410, "collected"),
    StateError: (503, "state"),
}


def _fedk(_: Request, error: Exception) -> Response:
    status, code = next((_ANSWERS[cls] for cls in type(error).__mro__ if cls in _ANSWERS), (500, "failed"))
    if isinstance(error, Refused):
        return answer(status, error.reason, str(error))
    if isinstance(error, BadBody):
        return answer(
            status,
            code,
            error.title,
            mistakes=[{"key": one.key, "subject": one.subject, "text": one.text} for one in error.found],
        )
    if isinstance(error, ConfigError):
        return answer(
            status, code, error.title, mistakes=[{"key": [], "subject": "", "text": text} for text in error.mistakes]
        )
    return answer(status, code, str(error))


def _http(request: Request, error: Exception) -> Response:
    """What Starlette itself raises, or a path for want of anything more telling."""
    status = getattr(error, "status_code", 500)
    detail = getattr(error, "detail", "")
    code = _CODES.get(status, "failed")
    own = detail and detail != HTTPStatus(status).phrase
    text = detail if own else f"{request.method} {request.url.path}: {code.replace('-', ' ')}"
    return answer(status, code, text, headers=getattr(error, "headers", None))


def _gone(_: Request, __: Exception) -> Response:
    """Who sent the request hung up before its end: no fault of the server, and nobody hears this."""
    return answer(400, "incomplete", "the request broke off before its end")


def _unexpected(_: Request, error: Exception) -> Response:
    """Starlette raises it again once this is sent, so that the server logs the traceback."""
    return answer(500, "internal", f"{type(error).__name__}: a fault of the server. Its log has the traceback")


def answer(status: int, code: str, message: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """An error as it is told."""
    return JSONResponse({"error": {"code": code, "message": message, **more}}, status, headers)


HANDLERS: Mapping[Any, Callable[[Request, Exception], Response]] = {
    FedkError: _fedk,
    HTTPException: _http,
    ClientDisconnect: _gone,
    Exception: _unexpected,
}
