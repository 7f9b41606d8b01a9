"""Rooms: memory of large blobs and sums, used again once nobody looks at it.

The system clears each page that it gives, and a virtual machine's host may have to find it first: for 100 MB that takes
two to ten times as long as to copy them.
"""

import asyncio
import math
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST = 2**20
"""Bytes of a room that is worth keeping."""

REST = 10.0
"""Seconds between looks at what is free: what two of them find so goes back to the system. A round may be as long."""


class Rooms:
    """Any thread may ask. Those of one use wait for the next round's, which are as large, until one is not."""

    def __init__(self) -> None:
        self._rooms: list[_Room] = []
        self._lock = Lock()

    def of(self, use: str, size: int) -> memoryview:
        """So many bytes, whatever stands there: nobody else's as long as a view, or an array on one, lives."""
        if size < LEAST:
            return np.empty(size, np.uint8).data
        with self._lock:
            free = [room for room in self._rooms if room.use == use and room.free]
            room = next((room for room in free if room.data.size == size), None)
            if room is None:  # so there are never more of a use than were let at one time
                self._rooms = [room for room in self._rooms if room not in free]
                room = _Room(use, np.empty(size, np.uint8))
                self._rooms.append(room)
            return room.let()

    def trim(self) -> bool:
        """Give back what was free `REST` ago, as this saw it, and not let since. Whether more is free by now."""
        now = time.monotonic()
        with self._lock:
            self._rooms = [room for room in self._rooms if room.rested(now) < REST]
            return any(room.free for room in self._rooms)

    @property
    def nbytes(self) -> int:
        """Memory that is let or kept."""
        return sum(room.data.nbytes for room in self._rooms)


@dataclass(slots=True, eq=False)
class _Room:
    use: str
    data: NDArray[np.uint8]
    lent: "weakref.ref[Any] | None" = None  # what is gone once nobody looks
    since: float = math.inf  # seen to be free

    @property
    def free(self) -> bool:
        return self.lent is None or self.lent() is None

    def let(self) -> memoryview:
        lent = self.data.view()
        self.lent, self.since = weakref.ref(lent), math.inf
        return lent.data

    def rested(self, now: float) -> float:
        """Seconds; below 0 while somebody has it."""
        if not self.free:
            return -1.0
        self.since = min(self.since, now)
        return now - self.since


class Resting:
    """One loop's timer, which gives memory back while there is some that nobody uses."""

    def __init__(self, *trims: Callable[[], bool]) -> None:
        """Each gives back what it finds unused twice, and says whether it has found more."""
        self._trims = trims
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Something may be unused. A timer that runs is not pushed on: some session goes on at any time."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(REST, self._end)

    def _end(self) -> None:
        self._timer = None
        more = [trim() for trim in self._trims]
        if any(more):  # which the next look gives back, if nobody has used it by then
            self.begin()


ROOMS = Rooms()
"""Of all that this process does."""
