"""Updates as 8-bit steps away from the model that the client trained on."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedk_protocol.codec import BlockCodec, elements, in_blocks

STEPS = 127
SCALE = np.dtype("<f8")


@dataclass(frozen=True)
class Int8(BlockCodec):
    """d = w - base as q·s, s = max|d|/127 of the tensor; q = ⌊d/s + u⌋, u uniform in [0, 1): E q·s = d.

    QSGD's stochastic rounding (Alistarh et al., NeurIPS 2017, 3.1) with the largest |d| in place of the norm.
    """

    name = "int8"
    based = True

    def pack(self, values: NDArray[Any], base: NDArray[Any], random: np.random.Generator) -> Iterator[bytes]:
        pairs = list(zip(in_blocks(values), in_blocks(base), strict=True))
        scale = max((float(np.abs(_difference(*pair)).max()) for pair in pairs), default=0.0) / STEPS
        for pair in pairs:
            steps = _difference(*pair) / scale if scale else np.zeros(pair[0].size)
            rounded = np.floor(steps + random.random(steps.size)).clip(-STEPS, STEPS)
            yield np.array(scale, SCALE).tobytes() + rounded.astype(np.int8).tobytes()

    def unpack(self, frame: memoryview, base: NDArray[Any]) -> NDArray[Any]:
        scale = elements(frame[: SCALE.itemsize], SCALE, 1)[0]
        steps = elements(frame[SCALE.itemsize :], np.dtype(np.int8), base.size)
        return np.asarray(base.astype(np.float64) + scale * steps.astype(np.float64)).astype(base.dtype)


def _difference(values: NDArray[Any], base: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(values.astype(np.float64) - base.astype(np.float64))
