"""A TOML file as data, with the line of each table and key: tomllib keeps none."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedk.api.errors import ConfigError
from fedk.api.suggestion import did_you_mean

DEFAULT = Path("fedk.toml")
_TABLE = re.compile(r"\s*\[+([^\[\]]+)\]+\s*(?:#.*)?")
_KEY = re.compile(r"""\s*([A-Za-z0-9_."' -]+?)\s*=""")
_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)")

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class File:
    """What stands in a file, and where."""

    path: Path | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    lines: Mapping[Key, int] = field(default_factory=dict)


def read(path: Path | None) -> File:
    """The file at `path`; without one `./fedk.toml`, which need not exist."""
    if path is None:
        return read(DEFAULT) if DEFAULT.is_file() else File()
    text = _text(path)
    try:
        return File(path, tomllib.loads(text), _lines(text))
    except (ValueError, RecursionError) as error:  # also: a number of 5,000 digits; a thousand lists in lists
        raise ConfigError(f"{path}: 1 mistake", [_syntax(str(error))]) from error


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError as error:
        folder = path.absolute().parent
        near = did_you_mean(path.name, [other.name for other in folder.glob("*.toml")], "{}")
        raise ConfigError(f"no file {path.name} (in {folder}).{near}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def _syntax(message: str) -> str:
    match = _PLACE.fullmatch(message)
    what = match[1] if match is not None else message
    place = "somewhere" if match is None else f"line {match[2]}, column {match[3]}" if match[2] else "at the end"
    return f"{place}   is not TOML: {what[:1].lower()}{what[1:]}"


def _lines(text: str) -> dict[Key, int]:
    """The first line of each table and key. A line inside a multi-line text may count too; it only places a message."""
    lines: dict[Key, int] = {}
    table: Key = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _TABLE.fullmatch(line):
            table = _parts(header[1])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, *_parts(key[1])), number)
    return lines


def _parts(dotted: str) -> Key:
    """The parts of a dotted key, as TOML reads it: some are quoted."""
    try:
        inner: Any = tomllib.loads(f"{dotted} = 0")
    except tomllib.TOMLDecodeError:
        return (dotted,)
    parts: list[str] = []
    while isinstance(inner, dict):
        name, inner = next(iter(inner.items()))
        parts.append(name)
    return tuple(parts)
