"""Buffers for one block, one set a thread: the hot loops allocate nothing."""

import threading
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedk.aggregation.numbers import BLOCK

WIDEST = 8  # bytes of an element
_PAGE = 4096
_AROUND = 512  # elements: rows of lanes before and behind a block whose squares are added up


def page(size: int) -> NDArray[np.uint8]:
    """Bytes from the start of a page on: a file's page read to a few bytes behind one's start takes four times as long.

    (Loads then wait for stores whose addresses differ in no bit that the processor has compared.)
    """
    room = np.empty(size + _PAGE, np.uint8)
    start = -room.ctypes.data % _PAGE
    return room[start : start + size]


class Scratch(threading.local):
    """Some 7 MiB, each buffer from its first use on. What stands in it is lost at the next call into this room by the same
    thread.
    """

    @cached_property
    def values(self) -> NDArray[np.float64]:
        return np.empty(BLOCK)

    @cached_property
    def base_values(self) -> NDArray[np.float64]:
        return np.empty(BLOCK)

    @cached_property
    def part(self) -> NDArray[np.float64]:
        return np.empty(BLOCK + _AROUND)

    @cached_property
    def wide(self) -> NDArray[np.float32]:
        return np.empty(BLOCK, np.float32)

    @cached_property
    def base_wide(self) -> NDArray[np.float32]:
        return np.empty(BLOCK, np.float32)

    @cached_property
    def delta(self) -> NDArray[np.uint8]:
        """Far from where in their pages the others begin, as `page` says."""
        half = _PAGE // 2
        return page(BLOCK * WIDEST + half)[half:]

    @cached_property
    def raw(self) -> NDArray[np.uint8]:
        return page(BLOCK * WIDEST)

    @cached_property
    def base_raw(self) -> NDArray[np.uint8]:
        return page(BLOCK * WIDEST)


SCRATCH = Scratch()
