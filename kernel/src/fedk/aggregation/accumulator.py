"""The accumulator: sums of updates, in float64. It is a cache of the spool: it may be dropped and built again."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from fedk.aggregation.grid import Grid, Kind, Run
from fedk.aggregation.model import Model
from fedk.aggregation.numbers import BLOCK, Numbers
from fedk.aggregation.scratch import SCRATCH
from fedk.aggregation.terms import Terms
from fedk.api.aggregator import Array
from fedk_protocol.codec import Spec, Tensor, layout_of

Write = Callable[[bytes | memoryview], None]
"""Takes the next bytes of a blob; they are only valid during the call."""

LEAST, GREATEST = "/least", "/greatest"
"""Exported beside the tensor sets: the range of each integer element. (No set's name has a slash.)"""

_Read = Callable[[str, Tensor, int, int], Numbers]


@dataclass(frozen=True, slots=True)
class Sums:
    """The numbers beside an accumulator's tensors."""

    keys: frozenset[str]  # of the updates
    weight: float
    scalars: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Factors:
    """What the elements of one update are multiplied by."""

    stepped: float = 1.0
    plain: float = 1.0

    @classmethod
    def of(cls, terms: Terms) -> "Factors":
        return cls(terms.weight * terms.scale, terms.weight)

    def of_run(self, run: Run) -> float:
        return self.stepped if run.kind is Kind.STEPPED else self.plain


@dataclass(frozen=True, slots=True)
class Share:
    """One update's, from `Accumulator.begin`: how its blocks are added."""

    factors: Factors
    first: bool  # nothing is there yet: it is put as it comes
    before: Factors  # of the one that stands there as it came


class Accumulator:
    """Σ weight·scale·t for each tensor set, Σ weight, the scalar sums. Associative: accumulators merge.

    Weights are used as they are, never normalised first: products of float32 values with whole numbers are exact, so
    the order of the updates does not matter in practice. An update that is alone stands here as it came, and comes
    back byte for byte: (w·u)/w differs from u in one float64 of eleven.
    """

    def __init__(self, grid: Grid, sets: Iterable[str] = ()) -> None:
        self.grid = grid
        self.totals: dict[str, Array] = {name: np.empty(grid.size) for name in ("model", *sets)}
        self.ranges = {name: _range(grid.base[name]) for name in grid.names(Kind.WHOLE)}
        self.keys: set[str] = set()
        self.weight = 0.0
        self.sums: dict[str, float] = {}
        self._alone: Terms | None = None

    @property
    def count(self) -> int:
        """Updates in it."""
        return len(self.keys)

    @property
    def sets(self) -> tuple[str, ...]:
        """The extra tensor sets."""
        return tuple(name for name in self.totals if name != "model")

    @property
    def nbytes(self) -> int:
        """Memory that it takes: a float64 for each element of each tensor set."""
        arrays = [*self.totals.values(), *(end for ends in self.ranges.values() for end in ends)]
        return sum(array.nbytes for array in arrays)

    # ---- updates: begin each, then add each of their blocks once ----

    def begin(self, key: str, terms: Terms) -> Share:
        """Count the update `key`. Of several that are begun, every block is added in the order of their beginnings."""
        before = Factors() if self._alone is None else Factors.of(self._alone)
        self._count(Sums(frozenset({key}), terms.weight, terms.sums))
        self._alone = terms if self.count == 1 else None
        return Share(Factors.of(terms), self.count == 1, before)

    def add(  # noqa: PLR0917 — what, where, and less what
        self, share: Share, name: str, run: Run, start: int, block: Numbers, base: Array | None = None
    ) -> None:
        """A block of tensor set `name`, from element `start` of `run`; `base` is subtracted from it in float64."""
        place = self.totals[name][run.at + start : run.at + start + block.size]
        if run.kind is Kind.WHOLE:
            self._stretch(run, start, block, first=share.first)
        if share.first:
            _put(place, block, base)
            return
        values, factor, before = SCRATCH.values[: block.size], share.factors.of_run(run), share.before.of_run(run)
        _put(values, block, base)
        if factor != 1.0:
            np.multiply(values, factor, out=values)
        if before != 1.0:
            np.multiply(place, before, out=place)
        np.add(place, values, out=place)

    def _stretch(self, run: Run, start: int, block: Numbers, *, first: bool) -> None:
        for end, choose in zip(self.ranges[run.tensors[0].name], (np.minimum, np.maximum), strict=True):
            place = end[start : start + block.size]
            if first:
                np.copyto(place, block)
            else:
                choose(place, block, out=place)

    def _count(self, sums: Sums) -> None:
        twice = self.keys & sums.keys
        if twice:
            raise ValueError(f"already folded: {', '.join(sorted(twice))}")
        self.keys |= sums.keys
        self.weight += sums.weight
        for name, value in sums.scalars.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    # ---- what it says ----

    def mean(self, name: str, run: Run, start: int, out: Array) -> Array:
        """Σ weight·scale·t / Σ weight of the block that `out` has room for."""
        place = self.totals[name][run.at + start : run.at + start + out.size]
        if self._alone is None:
            return np.divide(place, self.weight, out=out)
        return np.multiply(place, self._alone.scale if run.kind is Kind.STEPPED else 1.0, out=out)

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
        return [total[run.at : run.at + run.count] for total in self.totals.values()]

    # ---- merging ----

    def summary(self) -> Sums:
        """The numbers that travel with the exported blobs."""
        return Sums(frozenset(self.keys), self.weight, dict(self.sums))

    def merge(self, other: "Accumulator") -> None:
        """Add what another one holds, of an equal grid and with the same sets."""
        if not other.keys:
            return
        alone = None if self.keys else other._alone
        if alone is None:
            other.settle()
        self._take(other.summary(), other._block)
        self._alone = alone

    def take(self, sums: Sums, parts: Mapping[str, Model]) -> None:
        """Add what was exported, block by block."""

        def read(part: str, tensor: Tensor, start: int, count: int) -> Numbers:
            dtype = tensor.dtype if part in (LEAST, GREATEST) else np.dtype(np.float64)
            offset = parts[part].layout[tensor.name].offset + start * dtype.itemsize
            return parts[part].block(dtype, offset, count, SCRATCH.raw)

        self._take(sums, read)

    def parts(self) -> tuple[str, ...]:
        """Names of the blobs to export."""
        return (*self.totals, *((LEAST, GREATEST) if self.ranges else ()))

    def export(self, part: str, write: Write) -> None:
        """One blob: the float64 sums of a tensor set, or one end of the integers' ranges."""
        self.settle()
        tensors = {tensor.name: tensor for tensor in self._tensors(part)}
        wide = np.dtype(np.float64)
        layout = layout_of(
            {name: Spec(t.dtype if part in (LEAST, GREATEST) else wide, t.shape) for name, t in tensors.items()}
        )
        write(layout.header)
        for placed in layout.tensors:
            for start, count in _blocks(tensors[placed.name]):
                write(self._block(part, tensors[placed.name], start, count).view(np.uint8).data)

    def settle(self) -> None:
        """Make sums of an update that stands here as it came."""
        if self._alone is None:
            return
        factors, self._alone = Factors.of(self._alone), None
        for name, total in self.totals.items():
            for run in self.grid.runs:
                if name == "model" or run.kind is Kind.STEPPED:
                    place = total[run.at : run.at + run.count]
                    np.multiply(place, factors.of_run(run), out=place)

    def _take(self, sums: Sums, read: _Read) -> None:
        first = not self.keys
        self._count(sums)
        self.settle()
        join = {LEAST: np.minimum, GREATEST: np.maximum}
        for part in self.parts():
            for tensor in self._tensors(part):
                for start, count in _blocks(tensor):
                    place, block = self._block(part, tensor, start, count), read(part, tensor, start, count)
                    if first:
                        np.copyto(place, block)
                    else:
                        join.get(part, np.add)(place, block, out=place)

    def _tensors(self, part: str) -> Iterator[Tensor]:
        kinds = {"model": tuple(Kind), LEAST: (Kind.WHOLE,), GREATEST: (Kind.WHOLE,)}.get(part, (Kind.STEPPED,))
        return (tensor for tensor in self.grid.base.tensors if self.grid.kind(tensor.name) in kinds)

    def _block(self, part: str, tensor: Tensor, start: int, count: int) -> Numbers:
        if part in (LEAST, GREATEST):
            return self.ranges[tensor.name][part == GREATEST][start : start + count]
        at = self.grid.place(tensor.name).start + start
        return self.totals[part][at : at + count]


def _blocks(tensor: Tensor) -> Iterator[tuple[int, int]]:
    size = tensor.size
    return ((start, min(BLOCK, size - start)) for start in range(0, size, BLOCK))


def _range(tensor: Tensor) -> tuple[Numbers, Numbers]:
    return np.empty(tensor.size, tensor.dtype), np.empty(tensor.size, tensor.dtype)


def _put(place: Array, block: Numbers, base: Array | None) -> None:
    np.copyto(place, block)  # float64 first: the difference of float32 numbers would be rounded
    if base is not None:
        np.subtract(place, base, out=place)
