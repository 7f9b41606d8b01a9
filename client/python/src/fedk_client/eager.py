"""A coroutine that begins at once: the first step of an asyncio task waits for the loop's next turn."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Eager:
    """Runs within its maker's turn of the loop until it first has to wait; for coroutines that await futures alone."""

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = work
        self._awaited: asyncio.Future[Any] | None = None
        self._step(None)

    def cancel(self) -> None:
        """Like a task's: what it waits for is cancelled, which it sees in the loop's next turn."""
        if self._awaited is not None:
            self._awaited.cancel()

    def _step(self, _awaited: "asyncio.Future[Any] | None") -> None:
        self._awaited = None
        try:
            self._awaited = self._work.send(None)
        except (StopIteration, asyncio.CancelledError):
            return
        self._awaited.add_done_callback(self._step)
