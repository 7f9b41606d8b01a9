"""The step: base, mean and state go through the formula block by block, and come out as two blobs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedk.aggregation.accumulator import Write
from fedk.aggregation.formula import formula, name_of
from fedk.aggregation.grid import Grid, Kind, Run
from fedk.aggregation.model import Model
from fedk.aggregation.numbers import BLOCK, Numbers, has_master, to_booleans, to_integers, widened
from fedk.aggregation.scratch import WIDEST, page
from fedk.aggregation.state import MASTER, Tensors
from fedk.api.aggregator import Array, Config, MeanAggregator, Round
from fedk.api.errors import FormulaError
from fedk_protocol.layout import shown

STEP = BLOCK // 2
"""Elements that are stepped at a time: each state, and each number that a formula makes on its way, is a block more."""


class Source(Protocol):
    """Where the blocks come from that are stepped: an accumulator, or a combination of the updates."""

    grid: Grid

    @property
    def sets(self) -> Sequence[str]:
        """Extra tensor sets."""

    @property
    def states(self) -> Mapping[str, Array]:
        """Blocks of states that were made with the last block of the model."""

    def mean(self, name: str, run: Run, start: int, out: Array) -> Array:
        """The block of a tensor set that `out` has room for."""

    def range_of(self, run: Run, start: int, count: int) -> tuple[Numbers, Numbers]:
        """Least and greatest value of each element of a block of integers, after `mean` of it."""

    def rooms(self, run: Run) -> list[Array]:
        """Room for this run's elements, of which each block may be written over once `mean` has given it."""


class Stepping:
    """One pass over the base. It uses an accumulator up: what waits to be written stands where it has been read."""

    def __init__(
        self,
        aggregator: MeanAggregator[Config],
        base: Model,
        source: Source,
        tensors: Tensors,
        *,
        round: Round,  # noqa: A002 — the field's word
        block: int,
    ) -> None:
        block = min(block, STEP, max((run.count for run in source.grid.runs), default=0))
        self.max_abs = 0.0
        self._aggregator, self._base, self._source, self._tensors = aggregator, base, source, tensors
        self._round, self._block = round, block
        self._x, self._mean = _Buffer(block), _Buffer(block)
        self._sets = {name: _Buffer(block) for name in source.sets}
        self._states = {name: _Buffer(block) for name in tensors.fills}
        self._raw, self._master = page(block * WIDEST), page(block * 4)
        self._out, self._wide = np.empty(block * WIDEST, np.uint8), np.empty(block, np.float32)

    def write(self, model: Write, state: Write) -> None:
        """The next model in its base's layout, and the next state."""
        model(self._base.layout.header)
        state(self._tensors.layout.header)
        for run in self._source.grid.runs:
            if run.kind is Kind.STEPPED:
                self._step_run(run, model, state)
            else:
                for start, count in self._blocks(run):
                    self._put(model, run, start, self._averaged(run, start, count))

    # ---- tensors that are averaged only ----

    def _averaged(self, run: Run, start: int, count: int) -> Numbers:
        if self._aggregator.freezes:
            return self._read(run, start, count)
        mean = self._source.mean("model", run, start, self._mean.array[:count])
        if run.kind is Kind.WHOLE:
            return to_integers(mean, *self._source.range_of(run, start, count))
        if run.kind is Kind.TRUTH:
            return to_booleans(mean, self._read(run, start, count))
        return self._narrow(mean, run)

    # ---- tensors that are stepped ----

    def _step_run(self, run: Run, model: Write, state: Write) -> None:
        later = self._tensors.names(run)[1:]
        waiting = dict(zip(later, self._rooms(run, len(later)), strict=True))
        for start, count in self._blocks(run):
            value, states = self._step(run, start, count)
            self._put(model, run, start, value)
            for name, block in states.items():
                self._largest(run, start, block, f"the state {name} of ")
                if name in waiting:
                    np.copyto(waiting[name][start : start + count], block)
                else:
                    state(_bytes(block))
        for room in waiting.values():
            for first, last in pairwise([*range(0, room.size, BLOCK), room.size]):
                state(_bytes(room[first:last]))

    def _rooms(self, run: Run, wanted: int) -> Iterator[Array]:
        """Where states wait: in the sums of this run, block by block already used; beyond those in new arrays."""
        rooms = self._source.rooms(run)
        yield from rooms[:wanted]
        for _ in range(wanted - len(rooms)):
            yield np.empty(run.count)

    def _step(self, run: Run, start: int, count: int) -> tuple[Numbers, Mapping[str, Numbers]]:
        base = self._x.array[:count]
        np.copyto(base, self._read(run, start, count))
        mean = self._source.mean("model", run, start, self._mean.array[:count])
        x, states = self._call(run, start, count)
        if not has_master(run.dtype):
            return self._narrow(x, run), states
        master = self._next_master(run, start, base, mean, x)
        return self._narrow(master, run), {MASTER: master, **states}

    def _next_master(self, run: Run, start: int, base: Array, mean: Array, x: Array) -> NDArray[np.float32]:
        """The step as clients would see it, x - base, added to the master.

        A formula that gives back the mean of models itself means just that: FedAvg's model is the mean, in this format
        too, and one update alone comes back byte for byte.
        """
        old = self._tensors.block(MASTER, run, start, base.size, self._master)
        master = x.astype(np.float32)
        if old is None:
            return master
        moved = x != base
        replaced = (x == mean) & moved if self._aggregator.of == "model" else np.zeros_like(moved)
        np.copyto(master, old + (x - base), where=~replaced, casting="unsafe")
        return master

    def _call(self, run: Run, start: int, count: int) -> tuple[Array, Mapping[str, Array]]:
        for name, buffer in self._sets.items():
            self._source.mean(name, run, start, buffer.array[:count])
        for name, buffer in self._states.items():
            old = self._tensors.block(name, run, start, count, self._raw)
            np.copyto(buffer.array[:count], self._tensors.fills[name] if old is None else old)
        r = replace(self._round, sets=_views(self._sets, count)) if self._sets else self._round
        with formula(self._aggregator, "step"):
            answer = self._aggregator.step(
                self._x.view[:count], self._mean.view[:count], _views(self._states, count), r
            )
            return self._checked(answer, count)

    def _checked(self, answer: Any, count: int) -> tuple[Array, Mapping[str, Array]]:
        x, stepped = answer
        states = {**stepped, **self._source.states}
        if set(states) != set(self._tensors.fills):
            wanted, got = sorted(self._tensors.fills), sorted(states)
            raise FormulaError(f"{name_of(self._aggregator)}: step gave the states {got}, initial() names {wanted}")
        return self._array(x, count, "x'"), {
            name: self._array(states[name], count, f"state {name}") for name in self._tensors.fills
        }

    def _array(self, value: Any, count: int, what: str) -> Array:
        array = np.asarray(value, np.float64)
        if array.shape != (count,):
            text = f"step gave {what} of shape {array.shape} for a block of {count:,} elements; it must be elementwise"
            raise FormulaError(f"{name_of(self._aggregator)}: {text}")
        return array

    # ---- bytes ----

    def _blocks(self, run: Run) -> Iterator[tuple[int, int]]:
        return ((start, min(self._block, run.count - start)) for start in range(0, run.count, self._block))

    def _read(self, run: Run, start: int, count: int) -> Numbers:
        return self._base.block(run.dtype, run.offset + start * run.dtype.itemsize, count, self._raw)

    def _narrow(self, values: Numbers, run: Run) -> Numbers:
        out = self._out[: values.size * run.dtype.itemsize].view(run.dtype)
        np.copyto(out, values, casting="unsafe")
        return out

    def _put(self, model: Write, run: Run, start: int, block: Numbers) -> None:
        if run.kind.floats:
            self.max_abs = max(self.max_abs, self._largest(run, start, block, ""))
        model(_bytes(block))

    def _largest(self, run: Run, start: int, block: Numbers, of: str) -> float:
        wide = widened(block, self._wide)
        high, low = float(wide.max()), float(wide.min())
        if math.isfinite(high) and math.isfinite(low):
            return max(high, -low)
        wrong = ~np.isfinite(block)
        tensor, _ = run.tensor_at(start + int(wrong.argmax()))
        text = (
            f"{of}{shown(tensor.name)} would not be finite ({int(wrong.sum()):,} of {block.size:,} values in a block)"
        )
        raise FormulaError(f"{name_of(self._aggregator)}: {text}")


class _Buffer:
    """A block that a formula may read and not write."""

    def __init__(self, size: int) -> None:
        self.array = np.empty(size)
        self.view = self.array.view()
        self.view.flags.writeable = False


def _views(buffers: Mapping[str, _Buffer], count: int) -> dict[str, Array]:
    return {name: buffer.view[:count] for name, buffer in buffers.items()}


def _bytes(block: Numbers) -> memoryview:
    return np.ascontiguousarray(block).view(np.uint8).data


def nowhere(data: bytes | memoryview) -> None:
    """For a state without tensors."""
