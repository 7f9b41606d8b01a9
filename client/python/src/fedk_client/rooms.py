"""Rooms: memory of large blobs, used again once nobody looks at it.

The system clears each page that it gives: for 100 MB that takes two to ten times as long as to copy them.
"""

import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST = 2**20
"""Bytes of a room that is worth keeping."""

Bytes = NDArray[np.uint8]


class Rooms:
    """Of one kind of blob: those of a round are as large as those of the next. For one thread at a time."""

    def __init__(self) -> None:
        self._let: list[tuple[Bytes, weakref.ref[Any]]] = []  # and what is gone once nobody looks

    def of(self, size: int) -> memoryview:
        """Room for so many bytes, whatever stands there: nobody else's as long as a view, or an array on one, lives."""
        if size < LEAST:
            return np.empty(size, np.uint8).data
        room = next((room for room, lent in self._let if room.size == size and lent() is None), None)
        if room is None:
            room = np.empty(size, np.uint8)
        lent = room.view()
        self._let = [(taken, lent) for taken, lent in self._let if lent() is not None]
        self._let.append((room, weakref.ref(lent)))
        return lent.data
