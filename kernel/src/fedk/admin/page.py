"""A page of a long answer, by round: the memory that one answer takes is bounded."""

import re
from dataclasses import dataclass

from starlette.requests import Request

from fedk.api.errors import ConfigError

LIMIT, MOST = 100, 1000
_NUMBER = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Page:
    """At most `limit` rounds, those after `after`."""

    after: int
    limit: int


def page(request: Request) -> Page:
    """What the query's `after` and `limit` ask for."""
    return Page(number(request, "after", -1, least=-1, most=2**31), number(request, "limit", LIMIT, least=1, most=MOST))


def flag(request: Request, name: str, *, default: bool = False) -> bool:
    """A yes or no of the query."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if text not in ("true", "false"):
        raise ConfigError(f"?{name}={text[:40]} wants true or false")
    return text == "true"


def number(request: Request, name: str, default: int, *, least: int, most: int) -> int:
    """A whole number of the query."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
        raise ConfigError(f"?{name}={text[:40]} wants a whole number from {least} to {most:,}")
    return int(text)
