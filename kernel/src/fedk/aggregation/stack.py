"""The stack: a round's updates side by side, in the order of their keys, read from the spool again in every pass."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fedk.aggregation.files import Files
from fedk.aggregation.grid import Grid, Run
from fedk.aggregation.model import Model
from fedk.aggregation.numbers import BLOCK, DType, Numbers
from fedk.aggregation.places import Places
from fedk.aggregation.scratch import SCRATCH
from fedk.api.aggregator import Array, Update
from fedk.blobs.reader import Span

VALUES = 1 << 19
"""Of a block over all updates: 4 MiB, of which a formula may make some copies."""

_LEAST = 256  # elements of a block, however many updates there are: a pread costs 1 µs


@dataclass(frozen=True, slots=True)
class Brought:
    """One update: the formula's view of it, its weight, and where its model's bytes are."""

    update: Update
    weight: float
    span: Span
    places: Places
    base: Model  # that it was trained on


class Stack:
    """Memory is a block of `width` elements of each update, however large they are. For one thread at a time."""

    def __init__(self, grid: Grid, base: Model, brought: Sequence[Brought], *, block: int = BLOCK) -> None:
        self.grid, self._base = grid, base
        self.brought = sorted(brought, key=lambda one: one.update.key)
        self.width = min(block, BLOCK, max(_LEAST, VALUES // max(1, len(brought))))
        self.weights: Array = np.array([one.weight for one in self.brought], np.float64)
        self._files = Files()
        bases = {id(one.base): one.base for one in self.brought}
        self._bases = {key: Places(grid, model.layout) for key, model in bases.items()}

    def __len__(self) -> int:
        return len(self.brought)

    def blocks(self, run: Run) -> Iterator[tuple[int, int]]:
        """First element and number of elements of each block of a run."""
        return ((start, min(self.width, run.count - start)) for start in range(0, run.count, self.width))

    def rows(self, count: int) -> Array:
        """Room for `read`."""
        return np.empty((count, self.width))

    def read(self, among: Sequence[int], run: Run, start: int, out: Array) -> None:
        """The elements of a block of the models `among` into the rows of `out`."""
        for row, i in zip(out, among, strict=True):
            np.copyto(row, self.raw(i, run, start, row.size))

    def raw(self, i: int, run: Run, start: int, count: int) -> Numbers:
        """A block of one model in its own dtype; it stands in scratch."""
        one, dtype = self.brought[i], run.dtype
        place = SCRATCH.raw[: count * dtype.itemsize]
        for part, offset in one.places.pieces(run.at + start, count, dtype):
            view = place[part.start * dtype.itemsize : part.stop * dtype.itemsize]
            self._files.read_into(one.span, offset, view.data)
        return place.view(dtype)

    def base(self, run: Run, start: int, count: int) -> Array:
        """A block of the round's base."""
        offset = run.offset + start * run.dtype.itemsize
        return self._base.block(run.dtype, offset, count, SCRATCH.base_raw).astype(np.float64)

    def subtract_bases(self, among: Sequence[int], run: Run, start: int, out: Array) -> None:
        """Make deltas of models: from each row the block of the base that it was trained on."""
        base = SCRATCH.base_values[: out.shape[1]]
        known: Model | None = None
        for row, i in zip(out, among, strict=True):
            if self.brought[i].base is not known:  # nearly always one base for all
                known = self.brought[i].base
                self._read_base(known, run.dtype, run.at + start, base)
            np.subtract(row, base, out=row)

    def _read_base(self, base: Model, dtype: DType, at: int, out: Array) -> None:
        for part, offset in self._bases[id(base)].pieces(at, out.size, dtype):
            np.copyto(out[part], base.block(dtype, offset, part.stop - part.start, SCRATCH.base_raw))

    def close(self) -> None:
        self._files.close()
