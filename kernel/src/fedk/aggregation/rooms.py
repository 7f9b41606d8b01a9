"""Rooms: the memory of sums, used again by the next round's.

The system clears each page that it gives, and a virtual machine's host may have to find it first: to touch the 200 MB of a
100 MB model's sums was a sixth of a server's CPU.
"""

import weakref
from threading import Lock
from typing import Any

import numpy as np

from fedk.api.aggregator import Array

LEAST = 2**17
"""Elements of a room that is worth keeping."""


class Rooms:
    """Of all sessions. Any thread may ask. What is free is kept for one of the same size, until another is asked for."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._let: list[tuple[Array, weakref.ref[Any]]] = []  # and what is gone once nobody has it

    def of(self, size: int) -> Array:
        """So many elements, whatever stands there: nobody else's as long as the array, or a view of it, lives."""
        if size < LEAST:
            return np.empty(size)
        with self._lock:
            free = (room for room, lent in self._let if room.size == size and lent() is None)
            room = next(free, None)
            if room is None:
                room = np.empty(size)
            lent = room.view()
            self._keep()
            self._let.append((room, weakref.ref(lent)))
            return np.frombuffer(lent.data)  # a view of a view would hold `room` alone

    def clear(self) -> None:
        """Give back to the system what is free."""
        with self._lock:
            self._keep()

    @property
    def nbytes(self) -> int:
        """Memory that is let or kept."""
        return sum(room.nbytes for room, _ in self._let)

    def _keep(self) -> None:
        self._let = [(room, lent) for room, lent in self._let if lent() is not None]


ROOMS = Rooms()
