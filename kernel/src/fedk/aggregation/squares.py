"""The sum of the squares of a stream of numbers."""

import numpy as np

from fedk.aggregation.numbers import summed
from fedk.aggregation.scratch import SCRATCH
from fedk.api.aggregator import Array

LANES = 256


class Squares:
    """The same to the bit however the stream is cut into blocks: number i is added to lane i mod 256, in order.

    A norm decides weights and clipping, and the network where blocks end: twice the same bytes have the same norm.
    """

    def __init__(self) -> None:
        self._lanes, self._at = np.zeros(LANES), 0

    def add(self, values: Array) -> None:
        """At most a block of them, the next of the stream; they are used up. What overflows is infinite."""
        with np.errstate(over="ignore"):
            begun = min(-self._at % LANES, values.size)
            end = values.size - (values.size - begun) % LANES
            self._add(self._at % LANES, values[:begun])
            if end > begun:
                self._add_rows(values[begun:end])
            self._add(0, values[end:])
        self._at += values.size

    def total(self) -> float:
        return summed(self._lanes.tolist())

    def _add(self, lane: int, values: Array) -> None:
        lanes = self._lanes[lane : lane + values.size]
        np.add(lanes, np.multiply(values, values, out=values), out=lanes)

    def _add_rows(self, values: Array) -> None:
        rows = SCRATCH.part[: LANES + values.size]
        rows[:LANES] = self._lanes
        np.multiply(values, values, out=rows[LANES:])
        np.add.reduce(rows.reshape(-1, LANES), axis=0, out=self._lanes)  # row after row
