"""The client's own lines for a person: the logger "fedk_client", on stderr where the program has set up no logging."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

log = logging.getLogger("fedk_client")


@contextmanager
def on_stderr() -> Iterator[None]:
    """INFO and above with the time of day, unless handlers are there already."""
    if log.hasHandlers():
        yield
        return
    handler = _Stderr()
    level = log.level
    log.addHandler(handler)
    log.setLevel(level or logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def plain(text: str) -> str:
    """What a server says, as a part of one line: it is no line of its own, and nothing that a terminal obeys."""
    start = "".join(sign if sign.isprintable() else " " for sign in text[:_MOST])
    return start if len(text) <= _MOST else f"{start}…"


def say(line: str) -> None:
    """A line of INFO that comes in every round.

    Where nobody but this module listens, it is written without a record of who said it and where: that would cost
    three times as much, 0.15 ms of a small round.
    """
    if not log.isEnabledFor(logging.INFO):
        return
    handler = log.handlers[0] if log.handlers else None
    if not (isinstance(handler, _Stderr) and handler.is_alone() and handler.say(line)):
        log.info("%s", line)


class _Stderr(logging.StreamHandler[TextIO]):
    """The time of day before each line; it is worked out once for all lines of a second."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt=_CLOCK))
        self._second, self._clock = 0, ""

    def is_alone(self) -> bool:
        """Whether nobody else hears what is logged, or changes it."""
        return len(log.handlers) == 1 and not (log.filters or self.filters or logging.root.handlers)

    def say(self, line: str) -> bool:
        """Whether it could be written."""
        if (second := int(time.time())) != self._second:
            self._second, self._clock = second, time.strftime(_CLOCK, time.localtime(second))
        self.acquire()
        try:
            self.stream.write(f"{self._clock} {line}\n")
            self.stream.flush()
        except Exception:  # noqa: BLE001 — the program's stream: closed, replaced, or None where there is no stderr
            return False
        finally:
            self.release()
        return True

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 — logging's name
        """Nothing: logging would complain on the very stream that failed, and raise what that raises."""


_MOST = 1_000  # characters
_CLOCK = "%H:%M:%S"
