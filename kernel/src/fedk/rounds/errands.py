"""Errands: work that nobody waits for, whose failure is said."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Errands:
    """Each in a task of its own; `failed` hears what one has raised."""

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
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
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)
