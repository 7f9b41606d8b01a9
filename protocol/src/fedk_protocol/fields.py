"""Length-delimited protobuf fields written and read in place: large bytes are not copied into messages and out of them."""

from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier

Parts = tuple[bytes | memoryview, ...]
"""A message in pieces, which are put together once, as it leaves."""

DOWNLOADED = pb.Chunk.DESCRIPTOR.fields_by_name["data"].number
UPLOADED = pb.UploadMessage.DESCRIPTOR.fields_by_name["data"].number
DELIVERED = tier.Delivery.DESCRIPTOR.fields_by_name["data"].number
"""Fields that bring the bytes of a transfer."""


def enclosed(field: int, parts: Parts) -> Parts:
    """The field whose content is `parts` one after the other: a message's fields concatenate."""
    return _varint(field << 3 | 2) + _varint(sum(map(len, parts))), *parts


def data_of(raw: bytes, field: int = UPLOADED) -> memoryview | None:
    """The bytes of a message that has nothing but this field, without a copy; None for any other: it wants to be parsed."""
    if not raw or raw[0] != field << 3 | 2:
        return None
    size, at, shift = 0, 1, 0
    for digit in raw[1:6]:
        size, at, shift = size | (digit & 127) << shift, at + 1, shift + 7
        if digit < 128:  # noqa: PLR2004  # the last one
            return memoryview(raw)[at:] if size == len(raw) - at else None
    return None


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 127:  # noqa: PLR2004  # seven bits a byte
        digits.append(number & 127 | 128)
        number >>= 7
    digits.append(number)
    return bytes(digits)
