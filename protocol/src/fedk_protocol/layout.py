"""Where each tensor stands in a safetensors blob, and the canonical way to write that down."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import prod
from typing import Any, Protocol

import ml_dtypes
import numpy as np

from fedk_protocol.reasons import Reason

HEADER_MAX = 16 * 2**20
"""Bytes of the longest header: some 100,000 tensors. Hostile JSON takes 20 times that in memory while it is read, so
that a reader who knows what to expect gives a lower limit."""

DTYPES: Mapping[str, "np.dtype[Any]"] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
"""Every dtype of the format, by its name there. Little-endian."""

METADATA = "__metadata__"
"""The header's key for text about the blob; no tensor can have this name."""

ORDER = "fedk.order"
"""The metadata's key for the names in the framework's order, as a JSON list."""

PREFIX = 8
"""Bytes before the header, which say how long it is; also what the header's length is a multiple of."""

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_FEW = 1_000  # tensors of a model whose layout is remembered
_SHOWN = 100  # characters of a name in a line of text


class BadBlob(ValueError):
    """Bytes or arrays that are no model; `reason` is a code of the protocol's table."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class NeedMore(Exception):
    """The header is not whole yet: `size` bytes from the blob's start are wanted."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the first {size:,} bytes are needed to read the header")
        self.size = size


class Shaped(Protocol):
    """Anything with a dtype and a shape: an array, a Spec, a Tensor."""

    @property
    def dtype(self) -> "np.dtype[Any]": ...
    @property
    def shape(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, slots=True)
class Spec:
    """A tensor without its elements."""

    dtype: "np.dtype[Any]"
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's place; `offset` counts from the blob's first byte."""

    name: str
    dtype: "np.dtype[Any]"
    shape: tuple[int, ...]
    offset: int
    nbytes: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    def mismatch(self, expected: Shaped) -> BadBlob | None:
        """The difference of shape or dtype to `expected`, ready to be raised."""
        if self.shape != expected.shape:
            text = f"{shown(self.name)} has shape {shape_text(self.shape)}, the model {shape_text(expected.shape)}"
            return BadBlob(Reason.BAD_SHAPE, text)
        if self.dtype != expected.dtype:
            return BadBlob(Reason.BAD_DTYPE, f"{shown(self.name)} is {self.dtype}, the model's {expected.dtype}")
        return None


@dataclass(frozen=True, slots=True)
class Layout:
    """`tensors` stand as their data does; `order` is the framework's own; `header` is everything before the data."""

    tensors: tuple[Tensor, ...]
    order: tuple[str, ...]
    metadata: Mapping[str, str]
    size: int
    header: bytes = field(repr=False)
    _by_name: Mapping[str, Tensor] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {tensor.name: tensor for tensor in self.tensors})

    def __getitem__(self, name: str) -> Tensor:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def same_tensors(self, other: "Layout") -> bool:
        """Whether names, dtypes and shapes are the same, in any order."""
        return self.mismatch(other) is None

    def mismatch(self, expected: "Layout") -> BadBlob | None:
        """The first difference of names, dtypes or shapes to `expected`, ready to be raised."""
        for name in expected.order:
            if name not in self:
                return BadBlob(Reason.BAD_NAMES, f"{shown(name)} is missing")
        for tensor in self.tensors:
            if tensor.name not in expected:
                return BadBlob(Reason.BAD_NAMES, f"{shown(tensor.name)} is not in the model")
            if difference := tensor.mismatch(expected[tensor.name]):
                return difference
        return None


def shown(name: str) -> str:
    """A tensor's name for a line of text: whatever a stranger called it, one short printable word."""
    start = name[: _SHOWN + 1]
    plain = start if start.isprintable() and start and " " not in start else ascii(start)
    return plain if len(plain) <= _SHOWN else f"{plain[: _SHOWN - 3]}..."


def shape_text(shape: tuple[int, ...]) -> str:
    """(3, 4) as 3×4; () as scalar."""
    return "×".join(map(str, shape)) or "scalar"


def check_name(name: str) -> None:
    """Raise BadBlob for what cannot name a tensor."""
    if name == METADATA:
        raise BadBlob(Reason.BAD_NAMES, f"{METADATA} is the format's own word, not a tensor's name")
    if not is_text(name):
        raise BadBlob(Reason.BAD_NAMES, f"{shown(name)} is not Unicode text")


def is_text(text: str) -> bool:
    """Whether UTF-8 can say it: JSON's \\ud800 alone makes a str that nobody can write."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def layout_of(tensors: Mapping[str, Shaped], metadata: Mapping[str, str] | None = None) -> Layout:
    """The canonical layout: wide dtypes first, then by name, so that every tensor is aligned to its element.

    Raises BadBlob for a name or dtype that the format lacks.
    """
    shaped = tuple((name, tensor.dtype, tensor.shape) for name, tensor in tensors.items())
    notes = tuple(sorted(metadata.items())) if metadata else ()
    return (_known if len(shaped) <= _FEW else _layout)(shaped, notes)


def _layout(
    shaped: tuple[tuple[str, "np.dtype[Any]", tuple[int, ...]], ...], noted: tuple[tuple[str, str], ...]
) -> Layout:
    specs, notes = {name: _spec(name, dtype, shape) for name, dtype, shape in shaped}, dict(noted)
    places = list(_places(specs))  # offsets from the end of the header, which is not known yet
    header = _header(places, {**notes, ORDER: _json(list(specs))})
    placed = tuple(replace(tensor, offset=len(header) + tensor.offset) for tensor in places)
    return Layout(placed, tuple(specs), notes, len(header) + sum(tensor.nbytes for tensor in placed), header)


_known = lru_cache(8)(_layout)  # a session's models all look alike


def _spec(name: str, dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> Spec:
    check_name(name)
    dtype = dtype.newbyteorder("<") if dtype.byteorder == ">" else dtype
    if dtype not in _NAMES:
        choices = ", ".join(str(known) for known in _NAMES)
        raise BadBlob(Reason.BAD_DTYPE, f"{shown(name)} is {dtype}; the format has {choices}")
    return Spec(dtype, tuple(map(int, shape)))


def _places(specs: Mapping[str, Spec]) -> Iterator[Tensor]:
    end = 0
    for name in sorted(specs, key=lambda name: (-specs[name].dtype.itemsize, name)):
        spec = specs[name]
        size = prod(spec.shape) * spec.dtype.itemsize
        yield Tensor(name, spec.dtype, spec.shape, end, size)
        end += size


def _header(places: Sequence[Tensor], notes: Mapping[str, str]) -> bytes:
    entries: dict[str, Any] = {METADATA: notes}
    for t in places:
        entries[t.name] = {"dtype": _NAMES[t.dtype], "shape": t.shape, "data_offsets": (t.offset, t.offset + t.nbytes)}
    text = _json(entries).encode()
    text += b" " * (-len(text) % PREFIX)
    if len(text) > HEADER_MAX:
        raise BadBlob(Reason.TOO_LARGE, f"the header of {len(places):,} tensors is longer than {HEADER_MAX:,} bytes")
    return len(text).to_bytes(PREFIX, "little") + text


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
