"""The pass over one blob's data: finite, within limits, and how far from the base."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedk.aggregation.expected import Expected
from fedk.aggregation.grid import Grid, Kind, Run
from fedk.aggregation.model import Model
from fedk.aggregation.numbers import BLOCK, widened
from fedk.aggregation.scratch import SCRATCH
from fedk.aggregation.squares import Squares
from fedk.api.errors import Refused
from fedk_protocol.codec import Layout, Reason, Tensor
from fedk_protocol.layout import shown


class Inspection:
    """Follows the runs of a blob; holds at most one element that a chunk's end has cut in two."""

    def __init__(self, expected: Expected, grid: Grid, layout: Layout, *, delta: bool, where: str) -> None:
        self.max_abs = 0.0
        self.norm = 0.0  # once it is finished
        self._base = expected.base if delta else None
        self._runs = iter(grid.line_up(layout, joined=True))
        self._limit, self._norm_limit = expected.largest, expected.largest_norm
        self._squares, self._where = Squares(), where
        self._run: Run | None = None
        self._element = 0
        self._cut = bytearray()
        self._bad: _Count | None = None
        self._next_run()

    def feed(self, data: memoryview) -> None:
        """The next bytes of the data, never more than there are."""
        while data:
            assert self._run is not None  # noqa: S101 — the layout's size was checked
            size = self._run.dtype.itemsize
            if self._cut or len(data) < size:
                data = self._mend(data, size)
                continue
            count = min(len(data) // size, self._run.count - self._element, BLOCK)
            self._take(np.frombuffer(data, np.uint8, count * size))
            data = data[count * size :]

    def finish(self) -> None:
        """After the last byte."""
        self.norm = math.sqrt(self._squares.total())
        if not self.norm <= self._norm_limit:
            text = f"the update's norm is {self.norm:g}, the largest is {self._norm_limit:g} (limits.max_norm)"
            raise Refused(Reason.TOO_LARGE, self._where + text)

    def _mend(self, data: memoryview, size: int) -> memoryview:
        part = data[: size - len(self._cut)]
        self._cut += part
        if len(self._cut) == size:
            whole, self._cut = bytes(self._cut), bytearray()
            self._take(np.frombuffer(whole, np.uint8))
        return data[len(part) :]

    def _take(self, raw: NDArray[np.uint8]) -> None:
        run = self._run
        assert run is not None  # noqa: S101 — feed has looked
        count = raw.size // run.dtype.itemsize
        if run.kind.floats:
            self._look(run, widened(raw.view(run.dtype), SCRATCH.wide))
        elif run.kind is Kind.TRUTH and raw.max() > 1:
            name = shown(run.tensors[0].name)
            raise Refused(Reason.BAD_FORMAT, f"{self._where}{name} is BOOL and holds bytes other than 0 and 1")
        self._element += count
        if self._element == run.count:
            self._next_run()

    def _next_run(self) -> None:
        self._element = 0
        self._run = next((run for run in self._runs if run.count), None)

    def _look(self, run: Run, block: NDArray[Any]) -> None:
        if self._bad is not None:
            self._count(run, block, self._bad)
            return
        high, low = float(np.maximum.reduce(block)), float(np.minimum.reduce(block))  # max() calls it by a detour
        if not (-self._limit <= low and high <= self._limit):  # NaN fails every comparison
            self._complain(run, block)
            return
        self.max_abs = max(self.max_abs, high, -low)
        if self._base is not None:
            self._add_squares(self._base, run, block)

    def _add_squares(self, base: Model, run: Run, block: NDArray[Any]) -> None:
        """Differences are rounded to the block's dtype: the norm of float32 is good to 2⁻²⁴, and exact where no element
        has doubled or halved (Sterbenz, Floating-Point Computation, 1974, theorem 4.3.1).
        """
        offset = run.base_offset + self._element * run.dtype.itemsize
        other = widened(base.block(run.dtype, offset, block.size, SCRATCH.raw), SCRATCH.base_wide)
        delta = SCRATCH.delta[: block.nbytes].view(block.dtype)
        with np.errstate(over="ignore"):  # found as a norm that is infinite
            np.subtract(block, other, out=delta)
        self._squares.add(delta)

    def _complain(self, run: Run, block: NDArray[Any]) -> None:
        wrong = ~(np.abs(block) <= np.float64(self._limit))  # a plain float would be cast to the block's dtype
        first = int(wrong.argmax())
        tensor, start = run.tensor_at(self._element + first)
        if math.isfinite(block[first]):
            text = f"{shown(tensor.name)} reaches {block[first]:g}, the largest is {self._limit:g} (limits.max_abs)"
            raise Refused(Reason.TOO_LARGE, self._where + text)
        self._bad = _Count(tensor, start + tensor.size)
        self._count(run, block, self._bad)

    def _count(self, run: Run, block: NDArray[Any], bad: "_Count") -> None:
        """To the end of the first tensor that is not finite: a person wants to know how many."""
        first = max(0, bad.end - bad.tensor.size - self._element)
        bad.add(block[first : bad.end - self._element])
        if self._element + block.size >= bad.end:
            raise bad.refusal(self._where)


class _Count:
    """NaN and infinity of one tensor; `end` counts elements of its run."""

    def __init__(self, tensor: Tensor, end: int) -> None:
        self.tensor, self.end = tensor, end
        self._nan = self._inf = 0

    def add(self, block: NDArray[Any]) -> None:
        self._nan += int(np.isnan(block).sum())
        self._inf += int(np.isinf(block).sum())

    def refusal(self, where: str) -> Refused:
        counts = ((self._nan, "NaN"), (self._inf, "infinite"))
        said = " and ".join(f"{count:,} {word}" for count, word in counts if count)
        return Refused(Reason.NON_FINITE, f"{where}{shown(self.tensor.name)} has {said} of {self.tensor.size:,}")
