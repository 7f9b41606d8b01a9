"""Copies of records with other values, of which a round of a thousand clients makes five thousand."""

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

T = TypeVar("T")


@cache
def _slots(kind: type[Any]) -> tuple[Callable[[Any], tuple[Any, ...]], dict[str, Callable[[Any, Any], None]]]:
    """What reads all of its fields in one go, and what writes each."""
    return attrgetter(*kind.__slots__), {name: getattr(kind, name).__set__ for name in kind.__slots__}


def replace(one: T, /, **changes: Any) -> T:
    """As dataclasses.replace, in a fraction of its time: of a record with two slots or more, whose fields need no check."""
    kind: Any = type(one)
    values, puts = _slots(kind)
    found: T = kind(*values(one))
    for name, value in changes.items():
        if name not in puts:
            raise TypeError(f"{kind.__name__} has no {name}")
        puts[name](found, value)
    return found
