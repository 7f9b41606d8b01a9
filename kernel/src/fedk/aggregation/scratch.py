"""Buffers for one block, one set a thread: the hot loops allocate nothing."""

import threading

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
    """Some 7 MiB. What stands in it is lost at the next call into this room by the same thread."""

    def __init__(self) -> None:
        self.values, self.base_values, self.part = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK + _AROUND)
        self.wide, self.base_wide = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
        half = _PAGE // 2  # far from where in their pages the others begin, as `page` says
        self.delta = page(BLOCK * WIDEST + half)[half:]
        self.raw, self.base_raw = page(BLOCK * WIDEST), page(BLOCK * WIDEST)


SCRATCH = Scratch()
