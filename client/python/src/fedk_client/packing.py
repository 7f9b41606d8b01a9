"""What an answer's model travels in: the codec that its task names, where that is installed here."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedk_client.assignment import MODEL, Assignment
from fedk_client.journal import plain
from fedk_protocol.codec import DTYPES, Arrays, BlockCodec, Safetensors, layout_of
from fedk_protocol.layout import shown
from fedk_protocol.v1 import federation_pb2 as pb

GROUP = "fedk.codecs"

log = logging.getLogger("fedk_client")

_FLOATS = frozenset(DTYPES[name] for name in ("F64", "F32", "F16", "BF16"))


def capabilities() -> list[str]:
    """For Hello: the codecs that are installed. None is imported before a task names it."""
    names = {point.name for point in entry_points(group=GROUP)} - {Safetensors.name}
    return [f"codec:{name}" for name in sorted(names)]


@dataclass(frozen=True, slots=True)
class Packed:
    """A model as it travels, and what it leaves out, which is added to this client's next one."""

    pieces: tuple[bytes | memoryview, ...]
    blob: pb.Blob  # without size and hash
    left: Arrays = field(default_factory=dict)


def packed(assignment: Assignment, model: Arrays, left: Arrays) -> Packed | None:
    """None where it travels natively: no codec is asked for, or it cannot be used here."""
    codec = _codec(assignment.codec, assignment.codec_settings) if assignment.codec else None
    if codec is None:
        return None
    base = Safetensors().decode(assignment.inputs[MODEL]) if codec.based or codec.feedback else None
    if base is not None and not layout_of(model).same_tensors(layout_of(base)):
        return None  # so that the server says what is wrong with it
    if not codec.feedback:
        return Packed(tuple(codec.encode(model, base=base, seed=assignment.seed)), _blob(codec, assignment))
    wanted = {name: _sum(array, left.get(name)) for name, array in model.items()}
    sent = {name: array.astype(model[name].dtype) for name, array in wanted.items()}
    pieces = tuple(codec.encode(sent, base=base, seed=assignment.seed))
    read = codec.decode(b"".join(pieces), base=base)
    with np.errstate(all="ignore"):  # what is not finite is refused, and nothing of it is remembered
        rest = {name: wanted[name] - read[name] for name in model if model[name].dtype in _FLOATS}
    return Packed(pieces, _blob(codec, assignment), rest)


@lru_cache(maxsize=8)  # one for each session is enough: a codec keeps nothing
def _codec(name: str, settings: str) -> BlockCodec | None:
    try:
        (point, *_) = entry_points(group=GROUP, name=name)
        codec = point.load()(**_parsed(settings))
    except (Exception, SystemExit) as error:  # noqa: BLE001  # foreign code: an import may raise anything, or exit
        log.warning(
            'codec "%s" cannot be used, updates travel natively: %s',
            shown(name),
            plain(f"{type(error).__name__}: {error}"),
        )
        return None
    return codec if isinstance(codec, BlockCodec) else None


def _parsed(settings: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(settings or "{}")
    return found


def _blob(codec: BlockCodec, assignment: Assignment) -> pb.Blob:
    if codec.based:
        return pb.Blob(codec=codec.name, representation=pb.REPRESENTATION_DELTA, base=assignment.base)
    return pb.Blob(codec=codec.name, representation=pb.REPRESENTATION_FULL)


def _sum(array: NDArray[Any], left: NDArray[Any] | None) -> NDArray[Any]:
    """At least float32, so that what a 16-bit model has no digits for is not lost."""
    if array.dtype not in _FLOATS:
        return array
    wide = array.astype(np.float64 if array.dtype == np.float64 else np.float32)
    return wide if left is None or left.shape != wide.shape else wide + left
