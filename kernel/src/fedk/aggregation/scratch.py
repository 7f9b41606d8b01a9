"""Buffers for one block, one set a thread: the hot loops allocate nothing."""

import threading

import numpy as np

from fedk.aggregation.numbers import BLOCK, FOLDED

WIDEST = 8  # bytes of an element


class Scratch(threading.local):
    """Some 6 MiB. What stands in it is lost at the next call into this room by the same thread."""

    def __init__(self) -> None:
        self.values, self.base_values, self.part = np.empty(FOLDED), np.empty(FOLDED), np.empty(FOLDED)
        self.wide = np.empty(BLOCK, np.float32)
        self.raw, self.base_raw = np.empty(FOLDED * WIDEST, np.uint8), np.empty(FOLDED * WIDEST, np.uint8)


SCRATCH = Scratch()
