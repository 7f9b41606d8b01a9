"""The accumulator: sums of updates, in float64. It is a cache of the spool: it may be dropped and built again."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from fedk.aggregation.grid import Grid, Kind, Run
from fedk.aggregation.model import Model
from fedk.aggregation.numbers import BLOCK, Numbers, summed
from fedk.aggregation.scratch import SCRATCH
from fedk.aggregation.share import Factors, Share
from fedk.aggregation.terms import Terms
from fedk.aggregation.total import Total
from fedk.api.aggregator import Array
from fedk.api.errors import BlobError
from fedk_protocol.codec import Spec, Tensor, layout_of

Write = Callable[[bytes | memoryview], None]
"""Takes the next bytes of a blob; they are only valid during the call."""

LEAST, GREATEST = "/least", "/greatest"
"""Exported beside the tensor sets: the range of each integer element. (No set's name has a slash.)"""
_Read = Callable[[str, Tensor, int, int], Numbers]


@dataclass(frozen=True, slots=True)
class Sums:
    """The numbers beside an accumulator's tensors. What is summed is a function of the set of updates alone."""

    terms: Mapping[str, Terms]  # by key of the update
    raw: bool = False  # the one update stands as it came: not yet multiplied
    total: str = Total.name  # the kind of totals

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(self.terms)

    @property
    def weight(self) -> float:
        return summed(terms.weight for terms in self.terms.values())

    @property
    def scalars(self) -> Mapping[str, float]:
        names = sorted({name for terms in self.terms.values() for name in terms.sums})
        return {name: summed(terms.sums.get(name, 0.0) for terms in self.terms.values()) for name in names}


class Accumulator:
    """Σ weight·scale·t for each tensor set, Σ weight, the scalar sums. Associative: accumulators merge.

    Weights are used as they are, never normalised first: products of float32 values with whole numbers are exact, so
    the order of the updates does not matter in practice; with Exact totals it never does. An update that is alone
    stands here as it came, and comes back byte for byte: (w·u)/w differs from u in one float64 of eleven.
    """

    def __init__(self, grid: Grid, sets: Iterable[str] = (), *, total: type[Total] = Total) -> None:
        self.grid = grid
        self.totals: dict[str, Total] = {name: total(grid.size) for name in ("model", *sets)}
        self.ranges = {name: _range(grid.base[name]) for name in grid.names(Kind.WHOLE)}
        self.terms: dict[str, Terms] = {}
        self._kind = total
        self._alone: Terms | None = None
        self._weight: float | None = 0.0  # None: to be summed
        self._additions = 0  # since digits were carried

    @property
    def count(self) -> int:
        """Updates in it."""
        return len(self.terms)

    @property
    def weight(self) -> float:
        """Σ weight."""
        if self._weight is None:
            self._weight = self.summary().weight
        return self._weight

    @property
    def sets(self) -> tuple[str, ...]:
        """The extra tensor sets."""
        return tuple(name for name in self.totals if name != "model")

    @property
    def nbytes(self) -> int:
        """Memory that it takes: a float64 for each element of each tensor set, or one for each of its digits."""
        ranges = sum(end.nbytes for ends in self.ranges.values() for end in ends)
        return ranges + sum(total.nbytes for total in self.totals.values())

    # ---- updates: begin each, then add each of their blocks once ----

    def begin(self, key: str, terms: Terms) -> Share:
        """Count the update `key`. Of several that are begun, every block is added in the order of their beginnings."""
        before = None if self._alone is None else Factors.of(self._alone)
        self._count({key: terms})
        self._alone = terms if self.count == 1 else None
        carries = self._additions >= self._kind.most_additions
        self._additions = 2 if carries else self._additions + 1  # what is carried counts as one
        return Share(Factors.of(terms), self.count == 1, before, carries)

    def add(  # noqa: PLR0917 — what, where, and less what
        self, share: Share, name: str, run: Run, start: int, block: Numbers, base: Array | None = None
    ) -> None:
        """A block of tensor set `name`, from element `start` of `run`; `base` is subtracted from it in float64."""
        total, place = self.totals[name], slice(run.at + start, run.at + start + block.size)
        if run.kind is Kind.WHOLE:
            self._stretch(run, start, block, first=share.first)
        if share.first:
            _put(total.raw(place), block, base)
            return
        if share.before is not None:
            total.settle(place, share.before.of_kind(run.kind))
        if share.carries:
            total.carry(place)
        values, factor = SCRATCH.values[: block.size], share.factors.of_kind(run.kind)
        _put(values, block, base)
        if factor != 1.0:
            np.multiply(values, factor, out=values)
        total.add(place, values)

    def _stretch(self, run: Run, start: int, block: Numbers, *, first: bool) -> None:
        for end, choose in zip(self.ranges[run.tensors[0].name], (np.minimum, np.maximum), strict=True):
            place = end[start : start + block.size]
            if first:
                np.copyto(place, block)
            else:
                choose(place, block, out=place)

    def _count(self, terms: Mapping[str, Terms]) -> None:
        twice = self.terms.keys() & terms.keys()
        if twice:
            raise ValueError(f"already folded: {', '.join(sorted(twice))}")
        self.terms |= terms
        self._weight = None

    # ---- what it says ----

    def mean(self, name: str, run: Run, start: int, out: Array) -> Array:
        """Σ weight·scale·t / Σ weight of the block that `out` has room for."""
        total, place = self.totals[name], slice(run.at + start, run.at + start + out.size)
        if self._alone is None:
            return np.divide(total.read(place, out), self.weight, out=out)
        return np.multiply(total.raw(place), self._alone.scale if run.kind is Kind.STEPPED else 1.0, out=out)

    def range_of(self, run: Run, start: int, count: int) -> tuple[Numbers, Numbers]:
        """Least and greatest value of each element of a block of integers."""
        least, greatest = self.ranges[run.tensors[0].name]
        return least[start : start + count], greatest[start : start + count]

    @property
    def states(self) -> Mapping[str, Array]:
        """None: a mean is no state."""
        return {}

    def rooms(self, run: Run) -> list[Array]:
        """The sums of this run, for whoever has read them."""
        digits = (digit for total in self.totals.values() for digit in total.digits.values())
        return [digit[run.at : run.at + run.count] for digit in digits]

    # ---- merging ----

    def summary(self) -> Sums:
        """The numbers that travel with the exported blobs."""
        return Sums(dict(self.terms), self._alone is not None, self._kind.name)

    def merge(self, other: "Accumulator") -> None:
        """Add what another one holds, of an equal grid and with the same sets."""
        self._take(other.summary(), other.parts(), other._block)

    def take(self, sums: Sums, parts: Mapping[str, Model]) -> None:
        """Add what was exported, block by block. BlobError: other sums than these, or not all of their parts."""

        def read(part: str, tensor: Tensor, start: int, count: int) -> Numbers:
            dtype = tensor.dtype if part in (LEAST, GREATEST) else np.dtype(np.float64)
            offset = parts[part].layout[tensor.name].offset + start * dtype.itemsize
            return parts[part].block(dtype, offset, count, SCRATCH.raw)

        self._take(sums, tuple(parts), read)

    def parts(self) -> tuple[str, ...]:
        """Names of the blobs to export: for each digit of each tensor set model/0, and the integers' ranges."""
        digits = (f"{name}/{digit}" for name, total in self.totals.items() for digit in sorted(total.digits))
        return (*digits, *((LEAST, GREATEST) if self.ranges else ()))

    def export(self, part: str, write: Write) -> None:
        """One blob: a digit of the sums of a tensor set, float64, or one end of the integers' ranges."""
        tensors = {tensor.name: tensor for tensor in self._tensors(part)}
        wide = np.dtype(np.float64)
        layout = layout_of(
            {name: Spec(t.dtype if part in (LEAST, GREATEST) else wide, t.shape) for name, t in tensors.items()}
        )
        write(layout.header)
        for placed in layout.tensors:
            for start, count in _blocks(tensors[placed.name]):
                write(self._block(part, tensors[placed.name], start, count).view(np.uint8).data)

    def _take(self, sums: Sums, parts: Collection[str], read: _Read) -> None:
        if not sums.terms:
            return
        self._check_parts(sums, parts)
        first = not self.terms
        factors = Factors.of(*sums.terms.values()) if sums.raw else None
        self._settle()
        self._count(sums.terms)
        for part in parts:
            for tensor in self._tensors(part):
                for start, count in _blocks(tensor):
                    block = read(part, tensor, start, count)
                    if part in (LEAST, GREATEST):
                        self._widen(part, tensor, start, block, first=first)
                    else:
                        self._join(part, tensor, start, block, factors, first=first)
        self._alone = next(iter(sums.terms.values())) if first and sums.raw else None
        self._carry()

    def _check_parts(self, sums: Sums, parts: Collection[str]) -> None:
        if sums.total != self._kind.name:
            raise BlobError(f"{sums.total} sums cannot be added to {self._kind.name} ones")
        ranges = [LEAST, GREATEST] if self.ranges else []
        needed = {*ranges, *(f"{name}/{self._kind.home}" for name in self.totals)}
        digits = (self._kind.home,) if sums.raw else range(self._kind.most_digits)
        known = {*ranges, *(f"{name}/{digit}" for name in self.totals for digit in digits)}
        if not needed <= set(parts) <= known or (sums.raw and len(sums.terms) > 1):
            raise BlobError(
                f"these are not the parts of {sums.total} sums of {len(sums.terms)} updates: {sorted(parts)}"
            )

    def _join(
        self, part: str, tensor: Tensor, start: int, block: Numbers, factors: Factors | None, *, first: bool
    ) -> None:
        (total, digit), place = self._digit(part), self._place(tensor, start, block.size)
        if factors is None:
            total.take(digit, place, block, first=first)
        elif first:
            np.copyto(total.raw(place), block)
        else:
            values, factor = SCRATCH.values[: block.size], factors.of_kind(self.grid.kind(tensor.name))
            total.add(place, np.multiply(block, factor, out=values))

    def _widen(self, part: str, tensor: Tensor, start: int, block: Numbers, *, first: bool) -> None:
        place, choose = self._block(part, tensor, start, block.size), {LEAST: np.minimum, GREATEST: np.maximum}[part]
        if first:
            np.copyto(place, block)
        else:
            choose(place, block, out=place)

    def _settle(self) -> None:
        """Make sums of an update that stands here as it came."""
        if self._alone is None:
            return
        factors, self._alone = Factors.of(self._alone), None
        for total, kind, place in self._places():
            total.settle(place, factors.of_kind(kind))

    def _carry(self) -> None:
        if self._alone is None:
            for total, _, place in self._places():
                total.carry(place)
        self._additions = 1

    def _places(self) -> Iterator[tuple[Total, Kind, slice]]:
        """Every block of every set."""
        for name, total in self.totals.items():
            for tensor in self._tensors(f"{name}/"):
                for start, count in _blocks(tensor):
                    yield total, self.grid.kind(tensor.name), self._place(tensor, start, count)

    def _tensors(self, part: str) -> Iterator[Tensor]:
        if part in (LEAST, GREATEST):
            kinds: Iterable[Kind] = (Kind.WHOLE,)
        else:
            kinds = Kind if part.startswith("model/") else (Kind.STEPPED,)
        return (tensor for tensor in self.grid.base.tensors if self.grid.kind(tensor.name) in kinds)

    def _block(self, part: str, tensor: Tensor, start: int, count: int) -> Numbers:
        if part in (LEAST, GREATEST):
            return self.ranges[tensor.name][part == GREATEST][start : start + count]
        total, digit = self._digit(part)
        return total.digits[digit][self._place(tensor, start, count)]

    def _digit(self, part: str) -> tuple[Total, int]:
        name, _, digit = part.partition("/")
        return self.totals[name], int(digit)

    def _place(self, tensor: Tensor, start: int, count: int) -> slice:
        at = self.grid.place(tensor.name).start + start
        return slice(at, at + count)


def _blocks(tensor: Tensor) -> Iterator[tuple[int, int]]:
    size = tensor.size
    return ((start, min(BLOCK, size - start)) for start in range(0, size, BLOCK))


def _range(tensor: Tensor) -> tuple[Numbers, Numbers]:
    return np.empty(tensor.size, tensor.dtype), np.empty(tensor.size, tensor.dtype)


def _put(place: Array, block: Numbers, base: Array | None) -> None:
    np.copyto(place, block)  # float64 first: the difference of float32 numbers would be rounded
    if base is not None:
        np.subtract(place, base, out=place)
