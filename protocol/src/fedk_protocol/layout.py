"""Where each tensor stands in a safetensors blob: written canonically, read without trust."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol

import ml_dtypes
import numpy as np

from fedk_protocol.reasons import Reason

HEADER_MAX = 16 * 2**20
"""Bytes of a header that is still read: some 100,000 tensors. Its JSON takes about ten times that in memory."""

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

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_METADATA = "__metadata__"
_ORDER = "fedk.order"
_PREFIX = 8  # bytes that say how long the header is
_SHOWN = 100  # characters of a name in a line of text
_DIMENSIONS = 64  # numpy's most
_LARGEST = 2**63  # numpy counts elements in int64, also where one dimension is 0


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
        for tensor in expected.tensors:
            if tensor.name not in self:
                return BadBlob(Reason.BAD_NAMES, f"{shown(tensor.name)} is missing")
        for mine in self.tensors:
            if mine.name not in expected:
                return BadBlob(Reason.BAD_NAMES, f"{shown(mine.name)} is not in the model")
            wanted = expected[mine.name]
            if mine.shape != wanted.shape:
                text = f"{shown(mine.name)} has shape {shape_text(mine.shape)}, the model {shape_text(wanted.shape)}"
                return BadBlob(Reason.BAD_SHAPE, text)
            if mine.dtype != wanted.dtype:
                return BadBlob(Reason.BAD_DTYPE, f"{shown(mine.name)} is {mine.dtype}, the model's {wanted.dtype}")
        return None


def shown(name: str) -> str:
    """A tensor's name for a line of text: whatever a stranger called it, one short printable word."""
    plain = name if name.isprintable() and name and " " not in name else ascii(name)
    return plain if len(plain) <= _SHOWN else f"{plain[: _SHOWN - 3]}..."


def shape_text(shape: tuple[int, ...]) -> str:
    """(3, 4) as 3×4; () as scalar."""
    return "×".join(map(str, shape)) or "scalar"


# ---- writing ----


def layout_of(tensors: Mapping[str, Shaped], metadata: Mapping[str, str] | None = None) -> Layout:
    """The canonical layout: wide dtypes first, then by name, so that every tensor is aligned to its element.

    Raises BadBlob for a name or dtype that the format lacks.
    """
    specs = {name: _spec(name, tensor) for name, tensor in tensors.items()}
    names = sorted(specs, key=lambda name: (-specs[name].dtype.itemsize, name))
    order, extra = tuple(specs), dict(metadata or {})
    entries: dict[str, Any] = {
        _METADATA: {_ORDER: json.dumps(order, ensure_ascii=False), **dict(sorted(extra.items()))}
    }
    end, places = 0, []
    for name in names:
        spec, begin = specs[name], end
        end += prod(spec.shape) * spec.dtype.itemsize
        entries[name] = {"dtype": _NAMES[spec.dtype], "shape": spec.shape, "data_offsets": (begin, end)}
        places.append((name, spec, begin, end))
    header = _header(entries)
    placed = tuple(Tensor(n, s.dtype, s.shape, len(header) + b, e - b) for n, s, b, e in places)
    return Layout(placed, order, extra, len(header) + end, header)


def _spec(name: str, tensor: Shaped) -> Spec:
    _check_name(name)
    dtype = np.dtype(tensor.dtype)
    dtype = dtype.newbyteorder("<") if dtype.byteorder == ">" else dtype
    if dtype not in _NAMES:
        choices = ", ".join(str(known) for known in _NAMES)
        raise BadBlob(Reason.BAD_DTYPE, f"{shown(name)} is {dtype}; the format has {choices}")
    return Spec(dtype, tuple(map(int, tensor.shape)))


def _header(entries: Mapping[str, Any]) -> bytes:
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(_PREFIX, "little") + text


# ---- reading ----


def read_layout(data: bytes | memoryview, size: int, *, limit: int = HEADER_MAX) -> Layout:
    """The layout of a blob of `size` bytes, from its head `data`.

    Raises NeedMore while the head is too short, BadBlob for anything that the format does not allow.
    """
    end = _header_end(data, size, limit)
    header = bytes(data[:end])
    entries = _parse(header[_PREFIX:])
    metadata = _metadata(entries.pop(_METADATA, {}))
    tensors = [_tensor(name, entry, end) for name, entry in entries.items()]
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.nbytes))
    _check_seamless(tensors, end, size)
    order = _order(metadata.pop(_ORDER, None), tensors)
    return Layout(tuple(tensors), order, metadata, size, header)


def _bad(text: str) -> BadBlob:
    return BadBlob(Reason.BAD_FORMAT, text)


def _header_end(data: bytes | memoryview, size: int, limit: int) -> int:
    if size < _PREFIX:
        raise _bad(f"{size} bytes are no safetensors blob: the smallest has {_PREFIX + 2}")
    if len(data) < _PREFIX:
        raise NeedMore(_PREFIX)
    length = int.from_bytes(data[:_PREFIX], "little")
    if length > size - _PREFIX:
        raise _bad(f"the header claims {length:,} bytes, the whole blob has {size:,}")
    if length > limit:
        raise BadBlob(Reason.TOO_LARGE, f"the header claims {length:,} bytes, the most is {limit:,}")
    if len(data) < _PREFIX + length:
        raise NeedMore(_PREFIX + length)
    return _PREFIX + length


def _parse(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise _bad("the header does not begin with {")
    try:
        entries = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except BadBlob:
        raise
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, a number of 5,000 digits; 1,000 levels deep
        raise _bad(f"the header is not JSON: {str(error)[:200]}") from error
    assert isinstance(entries, dict)  # noqa: S101 — text that begins with { and parses is an object
    return entries


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise BadBlob(Reason.BAD_NAMES, f"{shown(name)} stands twice in the header")
        seen.add(name)
    raise AssertionError  # unreachable: fewer keys than pairs


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _metadata(found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise _bad(f"{_METADATA} is not an object of strings")
    return found


def _check_name(name: str) -> None:
    if name == _METADATA:
        raise BadBlob(Reason.BAD_NAMES, f"{_METADATA} is the format's own word, not a tensor's name")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise BadBlob(Reason.BAD_NAMES, f"{shown(name)} is not Unicode text") from error


def _tensor(name: str, entry: Any, start: int) -> Tensor:
    _check_name(name)
    if not isinstance(entry, dict):
        raise _bad(f"{shown(name)} is not an object")
    dtype = _dtype(name, entry.get("dtype"))
    shape = _shape(name, entry.get("shape"), dtype.itemsize)
    begin, end = _offsets(name, entry.get("data_offsets"))
    if end - begin != prod(shape) * dtype.itemsize:
        text = f"{shown(name)} has {end - begin:,} bytes, its dtype and shape need {prod(shape) * dtype.itemsize:,}"
        raise _bad(text)
    return Tensor(name, dtype, shape, start + begin, end - begin)


def _dtype(name: str, found: Any) -> "np.dtype[Any]":
    if not isinstance(found, str) or found not in DTYPES:
        text = f"{shown(name)} has dtype {str(found)[:100]!a}; the format has {', '.join(DTYPES)}"
        raise BadBlob(Reason.BAD_DTYPE, text)
    return DTYPES[found]


def _naturals(found: Any) -> bool:
    return isinstance(found, list) and all(type(n) is int and 0 <= n < _LARGEST for n in found)


def _shape(name: str, found: Any, itemsize: int) -> tuple[int, ...]:
    if not _naturals(found) or len(found) > _DIMENSIONS:
        raise BadBlob(
            Reason.BAD_SHAPE, f"{shown(name)}: shape wants at most {_DIMENSIONS} whole numbers, none negative"
        )
    if prod(n for n in found if n) * itemsize >= _LARGEST:
        raise BadBlob(Reason.BAD_SHAPE, f"{shown(name)}: so many elements cannot be counted")
    return tuple(found)


def _offsets(name: str, found: Any) -> tuple[int, int]:
    if not _naturals(found) or len(found) != 2:  # noqa: PLR2004 — begin and end
        raise _bad(f"{shown(name)}: data_offsets wants [BEGIN, END]")
    return found[0], found[1]


def _check_seamless(tensors: list[Tensor], start: int, size: int) -> None:
    end = start
    for tensor in tensors:
        if tensor.offset != end:
            what = "overlaps the tensor before it" if tensor.offset < end else "leaves a hole before it"
            raise _bad(f"{shown(tensor.name)} {what}")
        end += tensor.nbytes
    if end != size:
        raise _bad(f"the header describes {end:,} bytes, the blob has {size:,}")


def _order(found: str | None, tensors: list[Tensor]) -> tuple[str, ...]:
    names = tuple(tensor.name for tensor in tensors)
    if found is None:
        return names
    try:
        order = json.loads(found)
    except (ValueError, RecursionError) as error:
        raise _bad(f"{_ORDER} is not JSON") from error
    if (
        not isinstance(order, list)
        or not all(isinstance(name, str) for name in order)
        or sorted(order) != sorted(names)
    ):
        raise BadBlob(Reason.BAD_NAMES, f"{_ORDER} does not name each tensor once")
    return tuple(order)
