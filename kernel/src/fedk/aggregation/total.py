"""A total: the sums of one tensor set's elements. This one rounds to float64 at every addition."""

import math
from typing import ClassVar

import numpy as np

from fedk.api.aggregator import Array
from fedk_protocol.rooms import ROOMS


class Total:
    """Elements are added a block at a time. What stands here is in `digits`: one array, or one for each digit."""

    name: ClassVar[str] = "rounded"
    home: ClassVar[int] = 0  # the digit in whose place an update that is alone stands as it came
    most_digits: ClassVar[int] = 1
    most_additions: ClassVar[float] = math.inf  # additions before digits are to be carried

    def __init__(self, size: int) -> None:
        self.size = size
        self.digits: dict[int, Array] = {self.home: self._room()}

    @property
    def nbytes(self) -> int:
        return sum(digit.nbytes for digit in self.digits.values())

    def raw(self, place: slice) -> Array:
        """Where elements stand as they came, until `settle`: for the first update."""
        return self.digits[self.home][place]

    def settle(self, place: slice, factor: float) -> None:
        """Make sums of what stands as it came."""
        if factor != 1.0:
            np.multiply(self.raw(place), factor, out=self.raw(place))

    def add(self, place: slice, values: Array) -> None:
        """`values` are used up."""
        np.add(self.raw(place), values, out=self.raw(place))

    def take(self, digit: int, place: slice, block: Array, *, first: bool) -> None:
        """A block of a digit of another total; `first`: nothing is here yet."""
        if first:
            np.copyto(self.raw(place), block)
        else:
            np.add(self.raw(place), block, out=self.raw(place))

    def carry(self, place: slice) -> None:
        """Make room for more additions, where that is a question."""

    def read(self, place: slice, out: Array) -> Array:
        """The sums, once `settle`d: in `out`, or where they stand."""
        return self.raw(place)

    def _room(self) -> Array:
        """Of a digit, whatever stands there."""
        return np.frombuffer(ROOMS.of("sums", 8 * self.size))
