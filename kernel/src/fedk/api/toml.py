"""Values as TOML writes them: in messages, in the example file, in `fedk config show`, in variables and `--set`."""

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml(value: Any) -> str:
    """One line of TOML for a value that TOML has; text for any other."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Mapping):
        pairs = (f"{toml_key(name)} = {toml(inner)}" for name, inner in value.items())
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    if isinstance(value, list | tuple | set | frozenset):
        return f"[{', '.join(map(toml, value))}]"
    text = value if isinstance(value, str) else str(value)
    return _text(text)


def toml_key(*parts: str) -> str:
    """A dotted key, quoted where it must be."""
    return ".".join(part if _BARE.fullmatch(part) else _text(part) for part in parts)


def parsed(text: str) -> Any:
    """A number, truth value, list or table as TOML writes it; any other text is itself, and a date: JSON has none."""
    try:
        found = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # also: a number of 5,000 digits; a thousand lists in lists
        return text
    value = found["value"]
    return value if len(found) == 1 and isinstance(value, bool | int | float | str | list | dict) else text


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
