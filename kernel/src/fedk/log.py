"""The log: one event a line on stderr, its fields beside it, as text for people or JSON for machines."""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fedk.api.printable import printable

NAMES = {"WARNING": "warn", "CRITICAL": "fatal"}


def configure(level: str = "info", style: str = "text") -> None:
    """Send the log of this process to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if style == "json" else Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("fedk").setLevel(level.upper())


class Text(logging.Formatter):
    """14:02:31.204 info round.open      session=digits-1 round=7"""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).astimezone()
        level = NAMES.get(record.levelname, record.levelname.lower())
        fields = " ".join(f"{key}={_word(value)}" for key, value in fields_of(record).items())
        line = f"{at:%H:%M:%S}.{int(record.msecs):03} {level:<5} {printable(record.getMessage()):<16} {fields}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class Json(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        head = {
            "at": at.isoformat(timespec="milliseconds"),
            "level": NAMES.get(record.levelname, record.levelname.lower()),
            "event": record.getMessage(),
        }
        error = {"traceback": self.formatException(record.exc_info)} if record.exc_info else {}
        entry = {**head, **fields_of(record), **error}
        line = json.dumps(entry, default=str, ensure_ascii=False)
        return line if line.isprintable() else json.dumps(entry, default=str)


def fields_of(record: logging.LogRecord) -> Mapping[str, Any]:
    """What the line says beside its event."""
    found: Mapping[str, Any] = getattr(record, "fields", {})
    return found


def _word(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    plain = text.isprintable()  # else it might steer a terminal, or forge a line
    return json.dumps(text, ensure_ascii=not plain) if not text or not plain or any(c in text for c in ' "=') else text
