"""The JSON of a request: bounded, and nothing but JSON. What is taken is stored, and sent to clients with every task."""

import json
from collections import Counter
from collections.abc import Iterable
from math import isfinite
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from fedk.api.errors import ConfigError
from fedk.rounds.rules import DEPTH
from fedk_protocol.layout import is_text

MOST = 2**20
"""Bytes of a body: a session's rules have some hundred."""

_WHOLE = 2**63  # beyond it a number is none of the database's


async def document(request: Request) -> Any:
    """The body; nothing is an empty object."""
    given = await _read(request)
    if not given:
        return {}
    try:
        found = json.loads(
            given.decode(), parse_int=_whole, parse_float=_real, parse_constant=_real, object_pairs_hook=_table
        )
    except (ValueError, RecursionError) as error:  # also: no UTF-8; a thousand levels
        raise ConfigError(f"the body is no JSON: {str(error)[:200]}") from error
    _check(found)
    return found


async def _read(request: Request) -> bytes:
    given = bytearray()
    async for chunk in request.stream():
        given += chunk
        if len(given) > MOST:
            raise HTTPException(413, f"the body is longer than {MOST:,} bytes: send models to /api/v1/models")
    return bytes(given)


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # else which of them counts would differ from reader to reader
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"{twice[:60]!a} stands twice in one table")
    return found


def _whole(text: str) -> int:
    number = int(text) if len(text) <= 20 else _WHOLE  # noqa: PLR2004  # digits of 2⁶³, and a sign
    if not -_WHOLE <= number < _WHOLE:
        raise ValueError(f"{text[:20]}… is beyond 64 bits")
    return number


def _real(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text[:20]} is no finite number")
    return number


def _check(found: Any) -> None:
    """Level by level: depth, and text that UTF-8 cannot say (\\ud800 alone)."""
    level, depth = [found], 0
    while level:
        depth += 1
        if depth > DEPTH:
            raise ConfigError(f"the body has more than {DEPTH} levels of tables in tables")
        level = [inner for one in level for inner in _inner(one)]


def _inner(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, list):
        return value
    if isinstance(value, str) and not is_text(value):
        raise ConfigError(f"{value[:60]!a} in the body is not Unicode text")
    return ()
