"""The aggregator's state: scalars, and tensors in one safetensors blob as "<state>/<tensor>"."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedk.aggregation.formula import formula, name_of
from fedk.aggregation.grid import Grid, Kind, Run
from fedk.aggregation.model import Model
from fedk.aggregation.numbers import DType, Numbers, has_master
from fedk.api.aggregator import AnyAggregator, Config, Round
from fedk.api.errors import FormulaError, StateError
from fedk_protocol.codec import DTYPES, Layout, read_layout

MASTER = "master"
"""The state that the kernel itself keeps of floats of 16 and 8 bits: their value in float32."""

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


@dataclass(frozen=True, slots=True)
class AggregatorState:
    """Committed with each model. `tensors` is absent before the first round, and where there are none."""

    tensors: Model | None = None
    scalars: Mapping[str, float] = field(default_factory=dict)

    def close(self) -> None:
        """Give its file back."""
        if self.tensors is not None:
            self.tensors.close()


def first_state(aggregator: AnyAggregator[Config]) -> AggregatorState:
    """The state before the first round."""
    return AggregatorState(None, dict(aggregator.initial_scalars()))


def next_scalars(aggregator: AnyAggregator[Config], r: Round) -> dict[str, float]:
    """What `finish` gives."""
    with formula(aggregator, "finish"):
        scalars = {name: float(value) for name, value in aggregator.finish(r).items()}
    for name, value in scalars.items():
        if not math.isfinite(value):
            raise FormulaError(f"{name_of(aggregator)}: finish gave {name} = {value}; it must be finite")
    return scalars


class Tensors:
    """The state's tensors of a round: the old ones to read, and the layout of the next.

    A step makes a run's block of the model and of every state at once. So the blob goes run by run, each state's
    tensors of that run side by side: the first state is written as it is made, and the others wait for one run only.
    """

    def __init__(self, aggregator: AnyAggregator[Config], grid: Grid, old: Model | None) -> None:
        self.fills = dict(aggregator.initial())
        self._places: dict[tuple[str, int], int] = {}
        self.layout = self._laid_out(grid)
        self._old = old
        if old is not None and old.layout.tensors != self.layout.tensors:
            raise StateError(
                "the aggregator's state does not fit: the blob has other tensors than "
                f"{', '.join(self.fills) or 'the master'} for this model. Was the plugin changed within the session?"
            )

    def names(self, run: Run) -> tuple[str, ...]:
        """States of a run, in the order of their bytes."""
        return (MASTER, *self.fills) if has_master(run.dtype) else tuple(self.fills)

    def block(self, name: str, run: Run, start: int, count: int, scratch: NDArray[np.uint8]) -> Numbers | None:
        """A block of the old state; None before the first round."""
        if self._old is None:
            return None
        dtype = _dtype(name)
        offset = self._places[name, run.at] + start * dtype.itemsize
        return self._old.block(dtype, offset, count, scratch)

    def _laid_out(self, grid: Grid) -> Layout:
        entries: list[tuple[str, DType, tuple[int, ...]]] = []
        size = 0
        for run in grid.runs:
            for name in self.names(run) if run.kind is Kind.STEPPED else ():
                self._places[name, run.at] = size
                size += run.count * _dtype(name).itemsize
                entries += [(f"{name}/{tensor.name}", _dtype(name), tensor.shape) for tensor in run.tensors]
        layout = _layout_as(entries)
        self._places = {key: len(layout.header) + place for key, place in self._places.items()}
        return layout


def _dtype(name: str) -> DType:
    return _FLOAT32 if name == MASTER else _FLOAT64


def _layout_as(entries: list[tuple[str, DType, tuple[int, ...]]]) -> Layout:
    """The layout in just this order; a canonical one is sorted by dtype and name."""
    header: dict[str, object] = {}
    for (name, dtype, shape), (begin, end) in zip(entries, _extents(entries), strict=True):
        header[name] = {"dtype": _NAMES[dtype], "shape": shape, "data_offsets": (begin, end)}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    size = list(_extents(entries))[-1][1] if entries else 0
    return read_layout(len(text).to_bytes(8, "little") + text, 8 + len(text) + size)


def _extents(entries: list[tuple[str, DType, tuple[int, ...]]]) -> Iterator[tuple[int, int]]:
    end = 0
    for _, dtype, shape in entries:
        begin, end = end, end + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        yield begin, end
