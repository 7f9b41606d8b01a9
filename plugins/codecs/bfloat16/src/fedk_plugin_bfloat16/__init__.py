"""Updates in bfloat16."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedk_protocol.codec import DTYPES, BlockCodec, elements, in_blocks

BFLOAT16 = DTYPES["BF16"]
LARGEST = 3.3895313892515355e38  # of bfloat16


@dataclass(frozen=True)
class Bfloat16(BlockCodec):
    """Each float32 and float64 as the nearest bfloat16: the range of float32 with 8 bits of precision."""

    name = "bfloat16"

    def packs(self, tensor: NDArray[Any]) -> bool:
        """A tensor with an element beyond 3.39e38 goes as it is: it would become infinite."""
        wide = tensor.dtype.itemsize > BFLOAT16.itemsize and super().packs(tensor)
        return wide and bool(np.abs(tensor).max(initial=0) <= LARGEST)

    def pack(self, values: NDArray[Any], base: NDArray[Any], random: np.random.Generator) -> Iterator[bytes]:
        for block in in_blocks(values):
            yield block.astype(BFLOAT16).tobytes()

    def unpack(self, frame: memoryview, base: NDArray[Any]) -> NDArray[Any]:
        return elements(frame, BFLOAT16, base.size).astype(base.dtype)
