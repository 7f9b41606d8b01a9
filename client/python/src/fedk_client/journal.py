"""The client's own lines for a person: the logger "fedk_client", on stderr where the program has set up no logging."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("fedk_client")


@contextmanager
def on_stderr() -> Iterator[None]:
    """INFO and above with the time of day, unless handlers are there already."""
    if log.hasHandlers():
        yield
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(level or logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
