"""Codecs of updates: of each tensor something smaller, block by block, within safetensors.

Read block by block too: a server unpacks an update of any size in the memory of a few blocks.
"""

import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from math import ceil, prod
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from fedk_protocol.header import read_layout
from fedk_protocol.layout import DTYPES, HEADER_MAX, PREFIX, BadBlob, Layout, NeedMore, Spec, Tensor, layout_of, shown
from fedk_protocol.native import Arrays, Codec, Safetensors
from fedk_protocol.reasons import Reason

BLOCK = 2**16
"""Elements of a block; a tensor's last one is shorter."""

CODEC, PACKED = "fedk.codec", "fedk.packed"
"""Keys of the metadata: the codec's name; dtype and shape of each packed tensor, as a JSON object."""

FRAME_MAX = 2**20
"""Bytes of the longest frame, twice those of a float64 block: what a reader holds is bounded."""

_COUNT = np.dtype("<u4")  # of the bytes of each frame
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_FLOATS = frozenset(DTYPES[name] for name in ("F64", "F32", "F16", "BF16"))

BaseBlocks = Callable[[str, int, int], NDArray[Any]]
"""Elements start … start + count of a tensor of the model that the client trained on, flat: (name, start, count)."""


class Source(Protocol):
    """Bytes that stand somewhere."""

    @property
    def size(self) -> int: ...
    def read(self, at: int, n: int, /) -> bytes | memoryview:
        """`n` bytes from `at` on; there are so many."""


class Buffer:
    """Bytes in memory."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data).cast("B")
        self.size = self._data.nbytes

    def read(self, at: int, n: int, /) -> memoryview:
        return self._data[at : at + n]


class BlockCodec(Codec):
    """What an update's model may be sent in. Settings are the fields of a frozen dataclass; reading needs none.

    A packed tensor stands in the blob as bytes: the length of each block's frame, uint32, then the frames. What is not
    packed stands as it is.
    """

    based: ClassVar[bool] = False
    """Whether it says how an update differs from the model that the client trained on: the reader must have that."""
    feedback: ClassVar[bool] = False
    """Whether what it leaves out is to be added to the client's next update."""

    @abstractmethod
    def pack(self, values: NDArray[Any], base: NDArray[Any], random: np.random.Generator) -> Iterator[bytes]:
        """A frame for each block of a tensor. Both are flat and of one dtype; without a model trained on, `base` is 0."""

    @abstractmethod
    def unpack(self, frame: memoryview, base: NDArray[Any]) -> NDArray[Any]:
        """A block of the size and dtype of `base`, which is left as it is. Raises BadBlob."""

    def packs(self, tensor: NDArray[Any]) -> bool:
        """Whether to pack it, rather than send it as it is: floats of 16 bits and more, without NaN and infinity."""
        return tensor.dtype in _FLOATS and bool(np.isfinite(tensor).all())

    def encode(
        self,
        arrays: Arrays,
        metadata: Mapping[str, str] | None = None,
        *,
        base: Arrays | None = None,
        seed: int = 0,
    ) -> Iterator[bytes | memoryview]:
        """The same arrays, base and seed have the same bytes. Raises BadBlob for a name or dtype that the format lacks."""
        layout_of(arrays)
        packed, specs = {}, {}
        for number, (name, array) in enumerate(arrays.items()):
            tensor = _plain(array)
            if self.packs(tensor):
                flat, like = tensor.reshape(-1), _like(tensor, None if base is None else base[name])
                packed[name] = _framed(self.pack(flat, like, np.random.default_rng((seed, number))))
                specs[name] = [_NAMES[tensor.dtype], list(tensor.shape)]
            else:
                packed[name] = tensor
        notes = {CODEC: self.name, PACKED: json.dumps(specs, ensure_ascii=False, separators=(",", ":"))}
        yield from Safetensors().encode(packed, {**(metadata or {}), **notes})

    def decode(self, data: bytes | memoryview, *, base: Arrays | None = None) -> dict[str, NDArray[Any]]:
        def block(name: str, start: int, count: int) -> NDArray[Any]:
            if base is None:
                return np.zeros(count, unpacking.layout[name].dtype)
            return _plain(base[name]).reshape(-1)[start : start + count]

        unpacking = self.open(Buffer(data))
        found = {}
        for name in unpacking.layout.order:
            tensor = unpacking.layout[name]
            raw = [np.zeros(0, np.uint8), *(piece.view(np.uint8) for piece in unpacking.blocks(name, block))]
            found[name] = np.concatenate(raw).view(tensor.dtype).reshape(tensor.shape)
        return found

    def open(self, source: Source, *, limit: int = HEADER_MAX) -> "Unpacking":
        """A blob of this codec; `limit` is the most bytes of its header. Raises BadBlob."""
        return Unpacking(self, source, limit)


class Unpacks(Protocol):
    """What reading needs of a codec."""

    @property
    def name(self) -> str: ...
    def unpack(self, frame: memoryview, base: NDArray[Any]) -> NDArray[Any]: ...


class Unpacking:
    """A blob of a block codec, open for reading. `layout` is what it has unpacked: a native blob's."""

    def __init__(self, codec: Unpacks, source: Source, limit: int = HEADER_MAX) -> None:
        self._codec, self._source = codec, source
        self._packed = _head(source, limit)
        specs = _specs(self._packed)
        self._framed = frozenset(specs)
        self.layout: Layout = layout_of({name: specs.get(name, self._packed[name]) for name in self._packed.order})

    def pieces(self, base: BaseBlocks) -> Iterator[bytes | memoryview]:
        """The native blob: its header, then block after block. Each piece is used before the next is asked for."""
        yield self.layout.header
        for tensor in self.layout.tensors:
            for block in self.blocks(tensor.name, base):
                yield block.view(np.uint8).data

    def blocks(self, name: str, base: BaseBlocks) -> Iterator[NDArray[Any]]:
        """A tensor's elements. Raises BadBlob."""
        tensor, packed = self.layout[name], self._packed[name]
        if name not in self._framed:
            yield from self._as_they_are(packed)
            return
        for number, frame in enumerate(self._frames(tensor, packed)):
            start = number * BLOCK
            like = base(name, start, min(BLOCK, tensor.size - start))
            with np.errstate(all="ignore"):  # what becomes of numbers that no client computes is looked at later
                block = self._codec.unpack(frame, like)
            if block.shape != like.shape or block.dtype != like.dtype:
                raise _bad(f"{shown(name)}: {self._codec.name} gave {block.dtype}{block.shape} for a block of it")
            yield np.ascontiguousarray(block)

    def _as_they_are(self, tensor: Tensor) -> Iterator[NDArray[Any]]:
        for start in range(0, tensor.size, BLOCK):
            count = min(BLOCK, tensor.size - start)
            size = tensor.dtype.itemsize
            raw = np.frombuffer(self._source.read(tensor.offset + start * size, count * size), np.uint8)
            if tensor.dtype == np.bool_ and raw.max() > 1:
                raise _bad(f"{shown(tensor.name)} is BOOL and holds bytes other than 0 and 1")
            yield raw.view(tensor.dtype)

    def _frames(self, tensor: Tensor, packed: Tensor) -> Iterator[memoryview]:
        count = ceil(tensor.size / BLOCK)
        at = packed.offset + count * _COUNT.itemsize
        if count * _COUNT.itemsize > packed.nbytes:
            raise _bad(f"{shown(tensor.name)} has {packed.nbytes:,} bytes, too few for {count:,} blocks")
        lengths = np.frombuffer(self._source.read(packed.offset, count * _COUNT.itemsize), _COUNT).tolist()
        if at + sum(lengths) != packed.offset + packed.nbytes:
            raise _bad(f"{shown(tensor.name)}: its frames are {sum(lengths):,} bytes long, not what is there")
        for length in lengths:
            if length > FRAME_MAX:
                raise _bad(f"{shown(tensor.name)} has a frame of {length:,} bytes, the most is {FRAME_MAX:,}")
            yield memoryview(self._source.read(at, length))
            at += length


def in_blocks(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The blocks of a flat tensor."""
    for start in range(0, values.size, BLOCK):
        yield values[start : start + BLOCK]


def elements(frame: memoryview, dtype: "np.dtype[Any]", count: int) -> NDArray[Any]:
    """`count` elements, which are all that the frame holds; BadBlob where it holds another number."""
    if frame.nbytes != count * dtype.itemsize:
        raise _bad(f"a frame of {frame.nbytes:,} bytes, {count:,} elements of {dtype} have {count * dtype.itemsize:,}")
    return np.frombuffer(frame, np.uint8).view(dtype)


def _bad(text: str) -> BadBlob:
    return BadBlob(Reason.BAD_FORMAT, text)


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """Little-endian, contiguous."""
    dtype = array.dtype.newbyteorder("<") if array.dtype.byteorder == ">" else array.dtype
    return np.asarray(array, dtype, order="C")


def _like(tensor: NDArray[Any], base: NDArray[Any] | None) -> NDArray[Any]:
    if base is None:
        return np.zeros(tensor.size, tensor.dtype)
    if (base.dtype, base.shape) != (tensor.dtype, tensor.shape):
        text = f"the update has {tensor.dtype}{tensor.shape} where the model trained on has {base.dtype}{base.shape}"
        raise BadBlob(Reason.BAD_SHAPE, text)
    return _plain(base).reshape(-1)


def _framed(frames: Iterator[bytes]) -> NDArray[np.uint8]:
    parts = list(frames)
    lengths = np.array([len(part) for part in parts], _COUNT)
    return np.frombuffer(b"".join([lengths.tobytes(), *parts]), np.uint8)


def _head(source: Source, limit: int) -> Layout:
    wanted = min(PREFIX, source.size)
    while True:
        try:
            return read_layout(source.read(0, wanted), source.size, limit=limit)
        except NeedMore as more:
            wanted = more.size


def _specs(packed: Layout) -> dict[str, Spec]:
    try:
        found = json.loads(packed.metadata[PACKED])
        specs = {name: _spec(*words) for name, words in found.items()}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise _bad(f"{PACKED} of the metadata does not say what the tensors were: {str(error)[:200]}") from error
    for name in specs:
        if name not in packed or packed[name].dtype != np.uint8 or len(packed[name].shape) != 1:
            raise _bad(f"{shown(name)} is said to be packed, and is no row of bytes")
    return specs


def _spec(dtype: str, shape: list[int]) -> Spec:
    if len(shape) > 64 or not all(type(one) is int and 0 <= one < 2**63 for one in shape) or prod(shape) >= 2**60:  # noqa: PLR2004  # numpy's most
        raise ValueError(f"a shape of {len(shape)} numbers that no tensor has")
    return Spec(DTYPES[dtype], tuple(shape))
