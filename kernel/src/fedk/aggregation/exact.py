"""Exact totals: sums in fixed point, the same to the bit whatever the order of the updates and the tree of combiners."""

from bisect import bisect_left
from threading import Lock
from typing import ClassVar

import numpy as np

from fedk.aggregation.expected import Expected
from fedk.aggregation.grid import Kind
from fedk.aggregation.scratch import SCRATCH
from fedk.aggregation.terms import Terms
from fedk.aggregation.total import Total
from fedk.api.aggregator import Array
from fedk.api.errors import FormulaError, Refused
from fedk_protocol.codec import Reason

BITS = 48
"""Of a digit. A float64 has 53: 32 digits are added without rounding before they are carried."""

LOWEST, DIGITS = -168, 7

UNITS = tuple(2.0 ** (LOWEST + BITS * k) for k in range(DIGITS))
"""Digit k is a multiple of UNITS[k]. The grid is the same for all models: nobody needs to agree on it."""

LARGEST = 2.0**140
"""1.4e42: the largest |product| that is taken. Billions of those fit into the last digit."""

LEAST_FACTOR = 2.0**-80
"""8.3e-25: the least |weight × scale| but 0. Of weights at least that, a mean has a grid of 2⁻⁸⁸ or finer."""

_ROUND = tuple(1.5 * 2.0**52 * unit for unit in UNITS)  # x + this - this is x rounded to a multiple of the unit
_HALVES = tuple(unit / 2 for unit in UNITS)
_TOP = DIGITS - 1


class Exact(Total):
    """Each product is split without error into digits of 48 bits on a fixed grid, and digits are added without error.

    A product is rounded to a multiple of 2⁻¹⁶⁸ = 2.7e-51, half to even; that is all that is ever lost. So float32
    times whole numbers up to 2²⁹ loses nothing, nor does a float64 product of 2⁻¹¹⁵ = 2.4e-35 or more; n updates of
    weight w differ from their exact mean by no more than 2⁻¹⁶⁹ n / Σw before it is rounded to float64. Products above
    2¹⁴⁰ are no sums that this can hold: FormulaError.

    A digit takes memory once it is wanted: two of them, 16 bytes an element, for products from 2⁻²⁰ to 2²³, where
    most models are. Digits may be carried or not: `read` gives what depends on their sum alone.
    """

    name: ClassVar[str] = "exact"
    home: ClassVar[int] = 3  # from 2⁻²⁴ to 2²⁴
    most_digits: ClassVar[int] = DIGITS
    most_additions: ClassVar[float] = 16  # with as many of another total they are 2⁵² units at most

    def __init__(self, size: int) -> None:
        self._lock = Lock()
        super().__init__(size)

    def settle(self, place: slice, factor: float) -> None:
        raw = self.raw(place)
        values = SCRATCH.values[: raw.size]
        np.multiply(raw, factor, out=values)
        raw.fill(0.0)
        self.add(place, values)

    def add(self, place: slice, values: Array) -> None:
        part, k, peak = SCRATCH.part[: values.size], DIGITS, _peak(values)
        if not peak <= LARGEST:
            raise FormulaError(f"weight × scale × an element is {peak:g}; deterministic sums hold {LARGEST:.2g}")
        while peak and k:
            k = min(k - 1, max(0, bisect_left(_HALVES, peak) - 1))  # a digit above is 0: half its unit rounds to even
            np.add(values, _ROUND[k], out=part)
            np.subtract(part, _ROUND[k], out=part)
            digit = self._digit(k)[place]
            np.add(digit, part, out=digit)
            np.subtract(values, part, out=values)
            peak = _peak(values)

    def take(self, digit: int, place: slice, block: Array, *, first: bool) -> None:
        here = self._digit(digit)[place]
        np.add(here, block, out=here)

    def carry(self, place: slice) -> None:
        for k in sorted(self.digits.keys() - {_TOP}):
            digit = self.digits[k][place]
            over = SCRATCH.part[: digit.size]
            np.add(digit, _ROUND[k + 1], out=over)
            np.subtract(over, _ROUND[k + 1], out=over)
            if _peak(over):
                above = self._digit(k + 1)[place]
                np.add(above, over, out=above)
                np.subtract(digit, over, out=digit)

    def read(self, place: slice, out: Array) -> Array:
        """To 2 units in the last place: digits as they are when all is carried, from the lowest to the highest."""
        digit, over = SCRATCH.values[: out.size], SCRATCH.part[: out.size]
        out.fill(0.0)
        over.fill(0.0)
        for k in range(min(self.digits), min(max(self.digits) + 1, _TOP) + 1):
            np.add(over, self.digits[k][place] if k in self.digits else 0.0, out=digit)
            if k < _TOP:  # floor(x + ½), not to even: of two ways to write a sum one is left
                np.multiply(digit, 1 / UNITS[k + 1], out=over)
                np.floor(np.add(over, 0.5, out=over), out=over)
                np.multiply(over, UNITS[k + 1], out=over)
                np.subtract(digit, over, out=digit)
            np.add(out, digit, out=out)
        return out

    def _digit(self, k: int) -> Array:
        if k not in self.digits:
            with self._lock:  # both halves of a fold may want it first
                self.digits.setdefault(k, self._room())
        return self.digits[k]

    def _room(self) -> Array:
        return np.zeros(self.size)  # pages that are not written take no memory


def check_products(expected: Expected, terms: Terms, max_abs: float) -> None:
    """Of an update to `expected.base` with `max_abs` of its own, before it is accepted.

    Refused where its elements times its factors may be more than sums hold; FormulaError where its factors are too
    small for them to keep digits.
    """
    for factor in (terms.weight, terms.weight * terms.scale):
        if 0 < abs(factor) < LEAST_FACTOR:
            text = f"weight × scale is {factor:g}; deterministic sums take 0, or {LEAST_FACTOR:.2g} and more"
            raise FormulaError(text)
    peak = max_abs + expected.base_max_abs  # of a delta
    if expected.sets:
        peak = max(peak, expected.largest)
    if expected.grid is not None and expected.grid.names(Kind.WHOLE):
        peak = max(peak, 2.0**64)
    largest = terms.weight * max(1.0, abs(terms.scale)) * peak
    if not largest <= LARGEST:
        text = f"weight × scale × its largest element may reach {largest:.3g}; deterministic sums hold {LARGEST:.2g}"
        raise Refused(Reason.TOO_LARGE, f"{text} (limits.max_abs, limits.max_examples)")


def _peak(values: Array) -> float:
    return max(float(values.max()), -float(values.min()))
