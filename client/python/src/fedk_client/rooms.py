"""Rooms: memory of large blobs, used again once nobody looks at it.

The system clears each page that it gives: for 100 MB that takes two to ten times as long as to copy them.
"""

import weakref
from collections.abc import Mapping
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST = 2**20
"""Bytes of a room that is worth keeping."""

LINE = 64
"""Bytes: arrays of a room begin at a processor's cache line."""

Bytes = NDArray[np.uint8]


class Rooms:
    """Of one kind of blob: those of a round are as large as those of the next."""

    def __init__(self) -> None:
        self._let: list[tuple[Bytes, weakref.ref[Any]]] = []  # and what is gone once nobody looks
        self._lock = Lock()

    def of(self, size: int) -> memoryview:
        """Room for so many bytes, whatever stands there: nobody else's as long as a view, or an array on one, lives."""
        if size < LEAST:
            return np.empty(size, np.uint8).data
        with self._lock:
            room = next((room for room, lent in self._let if room.size == size and lent() is None), None)
            if room is None:
                room = np.empty(size, np.uint8)
            lent = room.view()
            self._let = [(taken, lent) for taken, lent in self._let if lent() is not None]
            self._let.append((room, weakref.ref(lent)))
            return lent.data

    def copies(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Of each array one that may be written to; all of them in one room."""
        if sum(array.nbytes for array in arrays.values()) < LEAST:
            return {name: np.array(array) for name, array in arrays.items()}
        sizes = {name: -(-array.nbytes // LINE) * LINE for name, array in arrays.items()}
        room, at = np.frombuffer(self.of(sum(sizes.values())), np.uint8), 0
        found = {}
        for name, array in arrays.items():
            found[name] = room[at : at + array.nbytes].view(array.dtype).reshape(array.shape)
            found[name][...] = array
            at += sizes[name]
        return found
