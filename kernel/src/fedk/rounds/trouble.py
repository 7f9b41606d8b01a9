"""Trouble: rows cannot be written. One database serves all sessions, so that all of them wait until it takes them again."""

import asyncio
from contextlib import suppress

from fedk.rounds.repairs import patience


class Trouble:
    """What failed, how often in a row, and when it is tried again."""

    def __init__(self) -> None:
        self.why = ""
        self._failures = 0
        self._due: float | None = None  # in the loop's time

    def over(self) -> None:
        """Rows have been written."""
        self.why, self._failures = "", 0

    async def wait(self, error: Exception, closing: asyncio.Event) -> None:
        """After a failure: not at all after the first one, then longer each time. A server that is closing waits no more."""
        seconds = patience(self._failures)
        self.why, self._failures = str(error), self._failures + 1
        if seconds:
            self._due = asyncio.get_running_loop().time() + seconds
            with suppress(TimeoutError):
                await asyncio.wait_for(closing.wait(), seconds)  # a full disk gives no sign when it has room again
            self._due = None

    @property
    def left(self) -> float | None:
        """Seconds until it is tried again; None: with whatever happens next."""
        return None if self._due is None else round(max(0.0, self._due - asyncio.get_running_loop().time()), 3)
