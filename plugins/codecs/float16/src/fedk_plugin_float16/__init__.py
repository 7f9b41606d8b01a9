"""Updates in 16-bit floats."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedk_protocol.codec import BlockCodec, elements, in_blocks

HALF = np.dtype("<f2")
LARGEST = 65504.0  # of float16


@dataclass(frozen=True)
class Float16(BlockCodec):
    """Each float32 and float64 as the nearest float16 (IEEE 754 binary16)."""

    name = "float16"

    def packs(self, tensor: NDArray[Any]) -> bool:
        """A tensor with an element beyond 65504 goes as it is: it would become infinite."""
        wide = tensor.dtype.itemsize > HALF.itemsize and super().packs(tensor)
        return wide and bool(np.abs(tensor).max(initial=0) <= LARGEST)

    def pack(self, values: NDArray[Any], base: NDArray[Any], random: np.random.Generator) -> Iterator[bytes]:
        for block in in_blocks(values):
            yield block.astype(HALF).tobytes()

    def unpack(self, frame: memoryview, base: NDArray[Any]) -> NDArray[Any]:
        return elements(frame, HALF, base.size).astype(base.dtype)
