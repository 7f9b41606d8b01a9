"""What `--json` prints."""

import json
from typing import Any

from fedk.api.printable import printable


def document(found: Any) -> str:
    """Of what is asked for once."""
    return _json(found, indent=2)


def line(found: Any) -> str:
    """Of each of what follows one another."""
    return _json(found, indent=None)


def _json(found: Any, *, indent: int | None) -> str:
    """Text that would steer a terminal is escaped as all that is not ASCII: to a reader of JSON it is the same."""
    text = json.dumps(found, ensure_ascii=False, indent=indent)
    return text if printable(text, keep="\n") == text else json.dumps(found, indent=indent)
