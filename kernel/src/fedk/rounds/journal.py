"""The journal: committed events as lines of the log. Two INFO lines for a quiet round."""

import logging
from collections.abc import Mapping
from typing import Any

from fedk.rounds.feed import Published

log = logging.getLogger("fedk.events")

LEVELS = {
    "update.refused": logging.WARNING,
    "task.failed": logging.WARNING,
    "task.lost": logging.WARNING,
    "client.lost": logging.WARNING,
    "round.retried": logging.WARNING,
    "session.failed": logging.ERROR,
    "update.accepted": logging.DEBUG,
    "task.recorded": logging.DEBUG,
    "model.measured": logging.DEBUG,
    "client.joined": logging.DEBUG,
    "client.left": logging.DEBUG,
}
"""By event; INFO for the others."""


def record(event: Published) -> None:
    """Log one event; the fields are its body."""
    level = LEVELS.get(event.type, logging.INFO)
    if log.isEnabledFor(level):
        log.log(level, event.type, extra={"fields": fields(event)})


def fields(event: Published) -> Mapping[str, Any]:
    """What the line says beside its event: the session by name, hashes short, metrics one by one."""
    body = dict(event.body)
    found: dict[str, Any] = {"session": body.pop("name")} if event.session and "name" in body else {}
    for key, value in body.items():
        if key == "metrics":
            found |= {name: round(number, 6) for name, number in value.items()}
        elif key == "model":
            found[key] = str(value)[:8]
        elif key not in ("task", "instance"):
            found[key] = value
    return found
