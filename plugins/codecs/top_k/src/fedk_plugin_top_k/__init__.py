"""Updates as the elements that changed most; what is left out is made up for in the next ones."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedk_protocol.codec import BLOCK, BadBlob, BlockCodec, Reason

PLACE = np.dtype("<u2")  # within a block of 65,536


@dataclass(frozen=True)
class TopK(BlockCodec):
    """Of each tensor the k = ⌈fraction·n⌉ elements with the largest |w - base|, exactly; the rest is the base's.

    With error feedback (Stich et al., *Sparsified SGD with Memory*, NeurIPS 2018, Algorithm 1).
    """

    fraction: float = field(
        default=0.1, metadata={"gt": 0, "le": 1, "description": "share of each tensor's elements that is sent"}
    )
    name = "top-k"
    based = True
    feedback = True

    def pack(self, values: NDArray[Any], base: NDArray[Any], random: np.random.Generator) -> Iterator[bytes]:
        change = np.abs(values.astype(np.float64) - base.astype(np.float64))
        kept = values.size - ceil(self.fraction * values.size)
        chosen = np.sort(np.argpartition(change, kept)[kept:]) if kept else np.arange(values.size)
        chosen = chosen[change[chosen] > 0]
        for start in range(0, values.size, BLOCK):
            first, last = np.searchsorted(chosen, (start, start + BLOCK))
            places = chosen[first:last]
            yield (places - start).astype(PLACE).tobytes() + values[places].tobytes()

    def unpack(self, frame: memoryview, base: NDArray[Any]) -> NDArray[Any]:
        count, odd = divmod(frame.nbytes, PLACE.itemsize + base.dtype.itemsize)
        places = np.frombuffer(frame[: count * PLACE.itemsize], PLACE).astype(np.int64)
        if odd or np.any(np.diff(places) <= 0) or np.any(places >= base.size):
            text = f"a frame of {frame.nbytes:,} bytes does not name places among {base.size:,} in rising order"
            raise BadBlob(Reason.BAD_FORMAT, text)
        block = base.copy()
        block[places] = np.frombuffer(frame[count * PLACE.itemsize :], np.uint8).view(base.dtype)
        return block
