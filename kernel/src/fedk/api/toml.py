"""Values as TOML writes them: in messages, in the example file, in `fedk config show`."""

import json
import re
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


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
