"""What the session's file tells the clients, and which of it user code has read."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from fedk_client.errors import AppError

Setting = TypeVar("Setting", bool, int, float, str)

_NONE = ("", "{}")  # what most tasks bring, and nobody needs to parse
_KINDS = (bool, int, float, str)  # bool first: it is an int


class Settings(Mapping[str, Any]):
    """A read-only mapping that remembers the names asked for, also those that it lacks."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = dict(values or {})
        self._read: set[str] = set()

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """Of a task's `settings`; nothing is an empty object. Raises AppError for what is none."""
        if text in _NONE:
            return cls()
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:  # the second: 1,000 levels deep
            raise AppError(f"the task's settings are not a JSON object: {str(error)[:200]}") from error
        if not isinstance(values, dict):
            raise AppError(f"the task's settings are not a JSON object: they are a {type(values).__name__}")
        return cls(values)

    def __getitem__(self, name: str) -> Any:
        self._read.add(name)
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        self._read.add(str(name))
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Settings({self._values!r})"

    @property
    def read(self) -> tuple[str, ...]:
        """The names that user code asked for, sorted."""
        return tuple(sorted(self._read))

    def typed(self, name: str, default: Setting) -> Setting:
        """The value as the type of `default`; an AppError where it is of another."""
        if name not in self:
            return default
        wanted = next(kind for kind in _KINDS if isinstance(default, kind))
        value: Setting = _as(wanted, name, self._values[name])
        return value


def _as(wanted: type, name: str, value: Any) -> Any:
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is wanted:
        return value
    raise AppError(
        f'setting "{name}" is {json.dumps(value)} ({type(value).__name__}), the client reads it as {wanted.__name__}: '
        f"correct client_settings.{name} in the session, or the default in the client's code"
    )
