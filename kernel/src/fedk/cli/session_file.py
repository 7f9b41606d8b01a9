"""A session file: the rules of a session as a person writes them, with `--set` over them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from fedk.api.columns import columns
from fedk.api.errors import ConfigError
from fedk.api.mistake import Mistake, mistake, mistakes
from fedk.api.suggestion import did_you_mean
from fedk.rounds.rules import Rules
from fedk.settings import file as toml_file

Key = tuple[str, ...]
_NAMES = ("name", "model")
"""Keys of a file that name things; all others are rules."""


@dataclass(frozen=True, slots=True)
class SessionFile:
    """What stands in it and was set over it, and where."""

    data: Mapping[str, Any]
    path: Path | None = None
    lines: Mapping[Key, int] = field(default_factory=dict)
    set_: frozenset[Key] = frozenset()

    @property
    def folder(self) -> Path:
        """What its paths are relative to."""
        return self.path.resolve().parent if self.path is not None else Path.cwd()

    @property
    def stem(self) -> str:
        """What a session without a name is called, before its number."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.folder.name).strip("-._")[:90] or "session"

    def error(self, found: Iterable[Mistake]) -> ConfigError:
        """All mistakes, each with its line."""
        rows = sorted(((self._place(one.key), one.subject, one.text) for one in found), key=_by_line)
        title = self.path if self.path is not None else "session"
        return ConfigError(f"{title}: {len(rows)} mistake{'s' if len(rows) > 1 else ''}", columns(rows))

    def _place(self, key: Key) -> str:
        for above in (key[:length] for length in range(len(key), 0, -1)):
            if above in self.set_:
                return "--set"
            if above in self.lines:
                return f"line {self.lines[above]}"
        return "--set" if any(one[: len(key)] == key for one in self.set_) else ""


def read(path: Path, settings: Sequence[tuple[str, Any]] = ()) -> SessionFile:
    """The file with `settings` over it. ConfigError where it is no TOML; its rules are checked by the server."""
    if path.is_dir():
        inside = ", ".join(str(other) for other in sorted(path.glob("*.toml")))
        raise click.UsageError(f"{path} is a folder. Session files in it: {inside or 'none'}")
    if not path.is_file():
        folder = path.resolve().parent
        near = did_you_mean(path.name, [other.name for other in folder.glob("*.toml")], "{}")
        raise click.UsageError(f"no file {path.name} (in {folder}).{near}")
    found = toml_file.read(path)
    return _over(SessionFile(dict(found.data), path, found.lines), settings)


def parsed(
    document: Mapping[str, Any],
    settings: Sequence[tuple[str, Any]],
    *,
    rounds: int | None = None,
    file: Path | None = None,
) -> Rules:
    """The rules that a file's `document` gives, with `settings` and `rounds` over them; every mistake with its line."""
    lines = toml_file.read(file).lines if file is not None else {}
    given = [*settings, *([("rounds", rounds)] if rounds is not None else [])]
    session = _over(SessionFile(dict(document), file, lines), given)
    try:
        return Rules.model_validate(session.data)
    except ValidationError as error:
        raise session.error(mistakes(error, Rules, session.data)) from error


def _over(session: SessionFile, settings: Sequence[tuple[str, Any]]) -> SessionFile:
    data, keys = _copied(session.data), set[Key]()
    for text, value in settings:
        key = rule(text)
        keys.add(key)
        table = data
        for part in key[:-1]:
            if not isinstance(table.get(part), dict):
                table[part] = {}
            table = table[part]
        table[key[-1]] = value
    found = SessionFile(data, session.path, session.lines, frozenset(keys))
    if wrong := list(_no_json((), data)):
        raise found.error(wrong)
    return found


def _no_json(key: Key, value: Any) -> Iterator[Mistake]:
    """What TOML has and JSON, in which rules travel, has not: dates, infinity."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _no_json((*key, name), inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _no_json(key, inner)
    elif not isinstance(value, str | int | float):
        yield mistake(key, value, "wants text, in quotes")
    elif isinstance(value, float) and not isfinite(value):
        yield mistake(key, value, "wants a finite number")


def changes(settings: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """What `--set` changes of a session, by dotted key."""
    _over(SessionFile({}), settings)  # for its mistakes
    return {".".join(rule(key)): value for key, value in settings}


def rule(key: str) -> Key:
    """Where `--set KEY=…` belongs: what is no rule is a setting for clients."""
    parts = tuple(part.strip() for part in key.split("."))
    rules = {found.alias or name for name, found in Rules.model_fields.items()}
    return parts if parts[0] in rules or parts[0] in _NAMES else ("client_settings", *parts)


def _copied(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _copied(value) if isinstance(value, Mapping) else value for name, value in table.items()}


def _by_line(row: tuple[str, str, str]) -> tuple[int, str]:
    place = row[0].removeprefix("line ")
    return (int(place), "") if place.isdigit() else (1 << 30, place)
