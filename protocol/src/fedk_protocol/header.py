"""The head of a safetensors blob, read without trust."""

import json
from collections import Counter
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fedk_protocol.layout import (
    DTYPES,
    HEADER_MAX,
    METADATA,
    ORDER,
    PREFIX,
    BadBlob,
    Layout,
    NeedMore,
    Tensor,
    check_name,
    is_text,
    shown,
)
from fedk_protocol.reasons import Reason

_SHORT = 64 * 2**10  # bytes of a header whose layout is remembered: hostile ones take little memory too
_DIMENSIONS = 64  # numpy's most
_LARGEST = 2**63  # numpy counts bytes in int64, also where one dimension is 0


def read_layout(data: bytes | memoryview, size: int, *, limit: int = HEADER_MAX) -> Layout:
    """The layout of a blob of `size` bytes, from its head `data`.

    Raises NeedMore while the head is too short, BadBlob for anything that the format does not allow.
    """
    header = bytes(data[: _header_end(data, size, limit)])
    return (_known if len(header) <= _SHORT else _layout)(header, size)


def _layout(header: bytes, size: int) -> Layout:
    end, entries = len(header), _parse(header[PREFIX:])
    metadata = _metadata(entries.pop(METADATA, {}))
    tensors = [_tensor(name, entry, end) for name, entry in entries.items()]
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.nbytes))
    _check_seamless(tensors, end, size)
    order = _order(metadata.pop(ORDER, None), tensors)
    return Layout(tuple(tensors), order, metadata, size, header)


_known = lru_cache(8)(_layout)  # a session's models all begin alike


def _bad(text: str) -> BadBlob:
    return BadBlob(Reason.BAD_FORMAT, text)


def _header_end(data: bytes | memoryview, size: int, limit: int) -> int:
    if size < PREFIX:
        raise _bad(f"{size} bytes are no safetensors blob: the smallest has {PREFIX + 2}")
    if len(data) < PREFIX:
        raise NeedMore(PREFIX)
    length = int.from_bytes(data[:PREFIX], "little")
    if length > size - PREFIX:
        raise _bad(f"the header claims {length:,} bytes, the whole blob has {size:,}")
    if length > limit:
        raise BadBlob(Reason.TOO_LARGE, f"the header claims {length:,} bytes, the most is {limit:,}")
    if len(data) < PREFIX + length:
        raise NeedMore(PREFIX + length)
    return PREFIX + length


def _parse(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise _bad("the header does not begin with {")
    try:
        entries: dict[str, Any] = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except BadBlob:
        raise
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, a number of 5,000 digits; 1,000 levels deep
        raise _bad(f"the header is not JSON: {str(error)[:200]}") from error
    return entries


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise BadBlob(Reason.BAD_NAMES, f"{shown(twice)} stands twice in the header")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _metadata(found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(v, str) and is_text(k + v) for k, v in found.items()):
        raise _bad(f"{METADATA} is not an object of strings")
    return found


def _tensor(name: str, entry: Any, start: int) -> Tensor:
    check_name(name)
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
    if isinstance(found, str) and found in DTYPES:
        return DTYPES[found]
    said = shown(found) if isinstance(found, str) else "that is no text"
    raise BadBlob(Reason.BAD_DTYPE, f"{shown(name)} has a dtype {said}; the format has {', '.join(DTYPES)}")


def _naturals(found: Any) -> bool:
    return isinstance(found, list) and all(type(n) is int and 0 <= n < _LARGEST for n in found)


def _shape(name: str, found: Any, itemsize: int) -> tuple[int, ...]:
    if not _naturals(found) or len(found) > _DIMENSIONS:
        raise BadBlob(Reason.BAD_SHAPE, f"{shown(name)}: shape wants at most {_DIMENSIONS} numbers from 0 on")
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
        raise _bad(f"{ORDER} is not JSON") from error
    if not isinstance(order, list) or not all(isinstance(name, str) for name in order):
        raise _bad(f"{ORDER} is not a list of names")
    if sorted(order) != sorted(names):
        raise BadBlob(Reason.BAD_NAMES, f"{ORDER} does not name each tensor once")
    return tuple(order)
