"""A model's bytes, open for reading in blocks."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fedk.aggregation.numbers import DType
from fedk.api.errors import BlobError
from fedk.blobs.reader import Reader, Span
from fedk_protocol.codec import BadBlob, Layout, NeedMore, read_layout

SMALL = 1 << 18
"""Bytes of a blob that is read whole: one system call instead of one for each tensor."""

_HEAD = 1 << 16  # bytes of a first read, enough for the header of some 500 tensors


@dataclass(frozen=True, slots=True)
class Model:
    """A safetensors blob: where its tensors stand, and their bytes."""

    layout: Layout
    reader: Reader
    data: NDArray[np.uint8] | None = None  # all bytes, where they are few

    @classmethod
    def open(cls, span: Span, like: Layout | None = None) -> Self:
        """`like` is a layout that it probably has: the same header is not parsed again. BlobError when damaged."""
        reader = Reader(span)
        try:
            return cls._opened(reader, like)
        except BadBlob as error:
            reader.close()
            raise BlobError(f"{span.path} at byte {span.offset:,} is not a model: {error}") from error
        except BaseException:
            reader.close()
            raise

    @classmethod
    def _opened(cls, reader: Reader, like: Layout | None) -> Self:
        if reader.size <= SMALL:
            data = np.empty(reader.size, np.uint8)
            reader.read_into(0, data.data)
            return cls(_layout(reader, data.data, like), reader, data)
        wanted = _HEAD if like is None else len(like.header)
        head = reader.read(0, min(wanted, reader.size))
        return cls(_layout(reader, memoryview(head), like), reader)

    def block(self, dtype: DType, offset: int, count: int, scratch: NDArray[np.uint8]) -> NDArray[Any]:
        """`count` elements from byte `offset`; they may stand in `scratch` until its next use."""
        size = count * dtype.itemsize
        if self.data is not None:
            return self.data[offset : offset + size].view(dtype)
        place = scratch[:size]
        self.reader.read_into(offset, place.data)
        return place.view(dtype)

    def close(self) -> None:
        self.reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _layout(reader: Reader, head: memoryview, like: Layout | None) -> Layout:
    if like is not None and like.size == reader.size and head[: len(like.header)] == like.header:
        return like
    try:
        return read_layout(head, reader.size)
    except NeedMore as more:
        return _layout(reader, memoryview(reader.read(0, more.size)), None)
