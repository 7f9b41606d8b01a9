"""Errands: work that nobody waits for, whose failure is said."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from fedk.api.errors import FedkError, StateError

log = logging.getLogger("fedk.combiner")


class Errands:
    """What a combiner does for its parent and for those below it, each in a task of its own."""

    def __init__(self) -> None:
        self._working: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin it."""
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._done)

    async def close(self) -> None:
        """Break off what is under way."""
        for work in self._working:
            work.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._working.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, StateError):
            log.info("said again once the parent is back: %s", error)
        elif isinstance(error, FedkError | OSError):
            log.error("what the parent asked for failed: %s", error)
        else:
            log.error("a fault of this combiner", exc_info=error)
