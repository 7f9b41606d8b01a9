"""Updates to the bit, as compressed differences to the model that the client trained on."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedk_protocol.codec import BadBlob, BlockCodec, Reason, in_blocks

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

WINDOW = 20  # log₂ of the memory that a frame may ask for: a block has 512 KiB at most


@dataclass(frozen=True)
class Zstd(BlockCodec):
    """The bits in which a tensor differs from the base (w XOR base), byte by byte of all elements, in Zstandard.

    Training moves a weight by a small part of itself: sign, exponent and the first bits of the mantissa agree, and
    stand together once the first bytes of all elements come first (blosc's shuffle).
    """

    level: int = field(
        default=3, metadata={"ge": 1, "le": 19, "description": "Zstandard's level: higher is smaller and slower"}
    )
    name = "zstd"
    based = True

    def packs(self, tensor: NDArray[Any]) -> bool:
        """Anything: bits are bits."""
        return True

    def pack(self, values: NDArray[Any], base: NDArray[Any], random: np.random.Generator) -> Iterator[bytes]:
        for block, like in zip(in_blocks(values), in_blocks(base), strict=True):
            yield zstd.compress(_bytes(np.bitwise_xor(_bytes(block), _bytes(like))).T.tobytes(), self.level)

    def unpack(self, frame: memoryview, base: NDArray[Any]) -> NDArray[Any]:
        bits = np.frombuffer(_inflated(frame, base.nbytes), np.uint8).reshape(base.dtype.itemsize, base.size)
        return np.bitwise_xor(np.ascontiguousarray(bits.T), _bytes(base)).reshape(-1).view(base.dtype)


def _bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """A row for each element."""
    return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)


def _inflated(frame: memoryview, size: int) -> bytes:
    reader = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW})
    try:
        data = reader.decompress(frame, size + 1)
    except zstd.ZstdError as error:
        raise BadBlob(Reason.BAD_FORMAT, f"a frame is not Zstandard: {error}") from error
    if len(data) != size or not reader.eof or reader.unused_data:
        raise BadBlob(Reason.BAD_FORMAT, f"a frame does not hold one block of {size:,} bytes")
    return data
