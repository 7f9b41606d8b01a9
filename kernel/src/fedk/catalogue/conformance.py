"""What an author has recorded of the suite that the plugin ran: a file beside its module, which travels in the wheel."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedk_protocol.layout import is_text

FILE = "conformance.json"
_NEEDED = {"suite", "passed", "failed", "version", "recorded"}


def recorded(module: str) -> Mapping[str, Any] | None:
    """Beside the file of a module; None where nothing that can be read is recorded."""
    if not module:
        return None
    try:
        found = json.loads(Path(module).with_name(FILE).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    plain = {
        name: value
        for name, value in found.items()
        if isinstance(value, int) or (isinstance(value, str) and is_text(value))
    }
    return plain if plain.keys() >= _NEEDED else None


def record(module: Path, found: Mapping[str, Any]) -> Path:
    """Write it; returns the file."""
    path = module.with_name(FILE)
    path.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    return path
