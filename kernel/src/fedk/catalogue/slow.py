"""An import that does not end is told of: which plugin it is, and how to do without it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

from fedk.catalogue.kind import KINDS
from fedk.catalogue.scan import Entry

log = logging.getLogger("fedk.plugins")

PATIENCE = 5.0
"""Seconds of an import before it is told of."""


@contextmanager
def told_when_slow(entry: Entry) -> Iterator[None]:
    """Waits on, whatever it takes."""
    notice = Timer(PATIENCE, _tell, [entry])  # by the clock: there is no event that says "it hangs"
    notice.daemon = True
    notice.start()
    try:
        yield
    finally:
        notice.cancel()


def _tell(entry: Entry) -> None:
    log.warning(
        '%s "%s" of %s is still being imported after %g s (%s). %s',
        entry.kind, entry.name, entry.owner, PATIENCE, entry.file or entry.target, way_out(entry),
    )  # fmt: skip


def way_out(entry: Entry) -> str:
    """How to start without it."""
    if entry.kind == "hook":
        return f"To do without it: Ctrl-C, then FEDK_PLUGINS__DISABLED='[\"{entry.name}\"]'"
    if entry.kind in ("db", "storage", "balancer"):
        return f"To do without it: Ctrl-C, then choose another, FEDK_{KINDS[entry.kind].section.upper()}__USE=NAME"
    return f"To do without it: Ctrl-C, then pip uninstall {entry.owner.distribution}"
