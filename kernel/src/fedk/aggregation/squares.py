"""The sum of the squares of a stream of numbers."""

import numpy as np
from numpy.typing import NDArray

from fedk.aggregation.numbers import summed
from fedk.aggregation.scratch import SCRATCH

LANES = 256


class Squares:
    """The same to the bit however the stream is cut into blocks: number i is added to lane i mod 256, in order.

    A norm decides weights and clipping, and the network where blocks end: twice the same bytes have the same norm.
    """

    def __init__(self) -> None:
        self._lanes, self._at = np.zeros(LANES), 0

    def add(self, values: NDArray[np.floating]) -> None:
        """At most a block of them, the next of the stream. What overflows is infinite."""
        first = LANES + self._at % LANES
        end = first + values.size
        rows = SCRATCH.part[: end + -end % LANES]
        squares = rows[first:end]
        rows[:LANES] = self._lanes
        rows[LANES:first] = rows[end:] = 0  # to add nothing changes no bit
        np.copyto(squares, values)
        with np.errstate(over="ignore"):
            np.multiply(squares, squares, out=squares)
            np.add.reduce(rows.reshape(-1, LANES), axis=0, out=self._lanes)  # row after row
        self._at += values.size

    def total(self) -> float:
        return summed(self._lanes.tolist())
