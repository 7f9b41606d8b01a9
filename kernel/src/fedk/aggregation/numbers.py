"""Numbers: which dtypes are floats, sums that are rounded once, casts that round and clip where numpy's wrap around."""

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 17
"""Elements that are worked on at a time: of float32 a chunk of an upload. Half as many cost a fifth more in calls, each
of which gives the interpreter away and has to get it back.
"""

Numbers = NDArray[Any]
DType = np.dtype[Any]

_HALF = 0.5


def is_float(dtype: DType) -> bool:
    """bfloat16 and float8 too, whose kind numpy does not know."""
    return dtype.kind not in "iub"


def has_master(dtype: DType) -> bool:
    """Floats of 16 and 8 bits: too coarse to add up small steps (bfloat16 stays at 1.0 through any number of 1e-3)."""
    return is_float(dtype) and dtype.itemsize < 4  # noqa: PLR2004 — bytes of a float32


def widened(block: Numbers, scratch: NDArray[np.float32]) -> Numbers:
    """As float32 or float64, in which numpy's loops are fast: the block itself, or its copy in `scratch`."""
    if not has_master(block.dtype):
        return block
    wide = scratch[: block.size]
    np.copyto(wide, block)
    return wide


def to_integers(values: NDArray[np.float64], low: Numbers, high: Numbers) -> Numbers:
    """Rounded half to even and clipped to [low, high], elementwise, in their dtype.

    A mean lies between its least and its largest value: clipping to them is exact where all agree, also beyond 2⁵³.
    """
    limits = np.iinfo(low.dtype)
    rounded = np.rint(values)
    beyond = rounded >= float(limits.max)  # float(2⁶³ - 1) is 2⁶³, and casting that wraps around
    rounded[beyond] = 0.0
    whole = np.maximum(rounded, float(limits.min)).astype(low.dtype)
    whole[beyond] = limits.max
    clipped: Numbers = np.clip(whole, low, high)
    return clipped


def to_booleans(values: NDArray[np.float64], base: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """By majority; a tie is the base's."""
    return np.where(values == _HALF, base, values > _HALF)


def summed(values: Iterable[float]) -> float:
    """Rounded once, so that no order shows; infinite where it is beyond float64."""
    numbers = list(values)
    try:
        return math.fsum(numbers)
    except ValueError:  # both infinities
        return math.nan
    except OverflowError:  # perhaps only halfway, and fsum's halves depend on the order
        pass
    if infinite := [value for value in numbers if not math.isfinite(value)]:
        return sum(infinite)
    total = sum(map(Fraction, numbers), Fraction())
    try:
        return float(total)
    except OverflowError:
        return math.inf if total > 0 else -math.inf
