"""A comparison: bytes that are made again, piece by piece, against the blob that was recorded. It keeps neither."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedk.aggregation.model import Model
from fedk_protocol.codec import Tensor
from fedk_protocol.layout import shown

_PIECE = 1 << 19  # bytes; whole elements of every dtype


@dataclass(slots=True)
class Difference:
    """Of one tensor; "" is the header, or the blob's length."""

    tensor: str
    elements: int = 1  # of the tensor
    differ: int = 1
    most: float = 0.0  # |recorded - made again|

    def __str__(self) -> str:
        if not self.tensor:
            return "its layout differs"
        many = f"{self.differ:,} of {self.elements:,} elements" if self.elements > 1 else "its element"
        return f"{shown(self.tensor)} differs in {many}, by {self.most:.3g}" + (" at most" if self.differ > 1 else "")


class Comparison:
    """`write` takes what is made again, in order, each piece of whole elements. Blocking."""

    def __init__(self, recorded: Model) -> None:
        self._recorded, self._at = recorded, 0
        self._found: dict[str, Difference] = {}
        self._buffer = np.empty(_PIECE, np.uint8)

    @property
    def differences(self) -> tuple[Difference, ...]:
        """By tensor, in the order of the bytes; asked for once all is written."""
        if self._at != self._recorded.reader.size:
            self._found.setdefault("", Difference(""))
        return tuple(self._found.values())

    def write(self, data: bytes | memoryview) -> None:
        made = np.frombuffer(data, np.uint8)
        for start in range(0, made.size, _PIECE):
            self._compare(made[start : start + _PIECE])

    def _compare(self, made: NDArray[np.uint8]) -> None:
        at, self._at = self._at, self._at + made.size
        if self._at > self._recorded.reader.size:
            return  # found at the end
        there = self._buffer[: made.size]
        self._recorded.reader.read_into(at, there.data)
        if np.array_equal(there, made):
            return
        if at < len(self._recorded.layout.header):
            self._found.setdefault("", Difference(""))
        for tensor, begin, end in self._overlapping(at):
            self._look(tensor, there[begin - at : end - at], made[begin - at : end - at])

    def _look(self, tensor: Tensor, there: NDArray[np.uint8], made: NDArray[np.uint8]) -> None:
        size = tensor.dtype.itemsize
        differ = np.count_nonzero((there.reshape(-1, size) != made.reshape(-1, size)).any(axis=1))
        if differ:
            far = there.view(tensor.dtype).astype(np.float64) - made.view(tensor.dtype).astype(np.float64)
            found = self._found.setdefault(tensor.name, Difference(tensor.name, tensor.size, 0))
            found.differ += int(differ)
            found.most = max(found.most, float(np.abs(far).max()))

    def _overlapping(self, at: int) -> Iterator[tuple[Tensor, int, int]]:
        """The tensors between `at` and here, each with the bytes of it that are."""
        for tensor in self._recorded.layout.tensors:
            begin, end = max(at, tensor.offset), min(self._at, tensor.offset + tensor.nbytes)
            if begin < end:
                yield tensor, begin, end
