"""Unpacking: a result whose model came in a codec, as the native bytes that are checked, kept and folded."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedk.aggregation.agreement import check_names, check_tensors
from fedk.aggregation.expected import Expected
from fedk.aggregation.intake import Facts, Place
from fedk.aggregation.model import Model
from fedk.api.codec import BlockCodec, Source, Unpacking
from fedk.api.errors import Refused
from fedk_protocol.blocks import BLOCK
from fedk_protocol.codec import HEADER_MAX, BadBlob, Reason

MODEL = "model"
"""The blob that may come in a codec; what an aggregator asks for beside it must arrive to the bit."""

CHUNK = 2**18
_WIDEST = 8  # bytes of an element
_HEADER = 2**20


class Hashing:
    """The first pass, while bytes arrive: hashes and places, nothing else. As `Intake` is used."""

    def __init__(self, expected: Expected, sizes: Mapping[str, int]) -> None:
        check_names(sorted(sizes), expected.blobs, where="blobs: ")
        self._left = [(name, sizes[name]) for name in sorted(sizes)]
        self._sizes, self._whole = dict(self._left), hashlib.sha256()
        self._hashes = {name: hashlib.sha256() for name in self._sizes}

    def feed(self, data: bytes | memoryview) -> None:
        """The next bytes."""
        view = memoryview(data).cast("B")
        self._whole.update(view)
        while view:
            if not self._left:
                raise Refused(Reason.TOO_LARGE, f"more bytes came than the {sum(self._sizes.values()):,} announced")
            name, missing = self._left[0]
            part = view[:missing]
            self._hashes[name].update(part)
            view = view[len(part) :]
            self._left[:1] = [(name, missing - len(part))] if missing > len(part) else []

    def finish(self) -> Facts:
        """After the last byte."""
        if missing := sum(size for _, size in self._left):
            announced = sum(self._sizes.values())
            raise Refused(Reason.BAD_HASH, f"{announced - missing:,} bytes came of the {announced:,} announced")
        places, offset = {}, 0
        for name, size in self._sizes.items():
            places[name] = Place(offset, size, self._hashes[name].digest())
            offset += size
        return Facts(self._whole.digest(), places, 0.0, 0.0)


class Unpacked:
    """A result as native bytes, block by block. Raises Refused where it is none of this model."""

    def __init__(self, codec: BlockCodec, expected: Expected, source: Source, places: Mapping[str, Place]) -> None:
        assert expected.base is not None  # noqa: S101  # only what is trained from a model is packed
        self._base, self._source, self._places = expected.base, source, dict(sorted(places.items()))
        limit = min(HEADER_MAX, max(_HEADER, 8 * len(expected.base.layout.header)))
        try:
            self._model = Unpacking(_Guarded(codec), _Part(source, places[MODEL]), limit)
        except BadBlob as error:
            raise Refused(error.reason, str(error)) from error
        check_tensors(self._model.layout, expected.base.layout)  # before anything is made as large as it says
        own = self._model.layout.size
        self.sizes = {name: own if name == MODEL else place.size for name, place in self._places.items()}
        self._raw = np.empty(BLOCK * _WIDEST, np.uint8)

    @property
    def size(self) -> int:
        """Bytes of the native result."""
        return sum(self.sizes.values())

    def pieces(self) -> Iterator[bytes | memoryview]:
        """The blobs in the order of their names. Each piece is used before the next is asked for."""
        for name, place in self._places.items():
            if name != MODEL:
                yield from _copied(self._source, place)
                continue
            try:
                yield from self._model.pieces(self._block)
            except BadBlob as error:
                raise Refused(error.reason, str(error)) from error

    def _block(self, name: str, start: int, count: int) -> NDArray[Any]:
        base: Model = self._base
        tensor = base.layout[name]
        block = base.block(tensor.dtype, tensor.offset + start * tensor.dtype.itemsize, count, self._raw)
        block.flags.writeable = False  # a codec that writes would change the model of everybody
        return block


class _Part:
    """One blob of a source."""

    def __init__(self, source: Source, place: Place) -> None:
        self._source, self._offset, self.size = source, place.offset, place.size

    def read(self, at: int, n: int, /) -> bytes | memoryview:
        return self._source.read(self._offset + at, n)


class _Guarded:
    """A codec whose every failure says that the bytes are none of its."""

    def __init__(self, codec: BlockCodec) -> None:
        self._codec, self.name = codec, codec.name

    def unpack(self, frame: memoryview, base: NDArray[Any]) -> NDArray[Any]:
        try:
            return self._codec.unpack(frame, base)
        except BadBlob:
            raise
        except Exception as error:  # foreign code, given what a stranger sent
            text = f"codec {self.name} failed on it: {type(error).__name__}: {error}"
            raise BadBlob(Reason.BAD_FORMAT, text) from error


def _copied(source: Source, place: Place) -> Iterator[bytes | memoryview]:
    for at in range(0, place.size, CHUNK):
        yield source.read(place.offset + at, min(CHUNK, place.size - at))
