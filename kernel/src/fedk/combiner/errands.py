"""Errands of a combiner: what it does for its parent and for those below it, and what is said where that fails."""

import logging

from fedk.api.errors import FedkError, StateError
from fedk.rounds.errands import Errands

log = logging.getLogger("fedk.combiner")


def errands() -> Errands:
    """For one of its rooms' parts."""
    return Errands(_failed)


def _failed(error: BaseException) -> None:
    if isinstance(error, StateError):
        log.info("left until the parent is back, or this combiner starts again: %s", error)
    elif isinstance(error, FedkError | OSError):
        log.error("what the parent asked for failed: %s", error)
    else:
        log.error("a fault of this combiner", exc_info=error)
