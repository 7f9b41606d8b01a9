"""Passes over a round's updates, as a formula asks for them."""

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from fedk.aggregation.geometry import geometry
from fedk.aggregation.grid import Kind, Run
from fedk.aggregation.scratch import SCRATCH
from fedk.aggregation.stack import Stack
from fedk.aggregation.state import Tensors
from fedk.api.aggregator import Array, Block, Combine, Geometry, Recipe, State, Update, Updates


class Passes(Updates):
    """What an Aggregator is given."""

    def __init__(self, stack: Stack, tensors: Tensors) -> None:
        self.weights = stack.weights.copy()
        self._stack, self._tensors = stack, tensors

    def __len__(self) -> int:
        return len(self._stack)

    @overload
    def __getitem__(self, index: int) -> Update: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Update]: ...
    def __getitem__(self, index: int | slice) -> Update | Sequence[Update]:
        found = self._stack.brought[index]
        return [one.update for one in found] if isinstance(found, list) else found.update

    def geometry(self) -> Geometry:
        return geometry(self._stack)

    def blocks(self, among: Sequence[int] | None = None) -> Iterator[Block]:
        chosen = self._chosen(among)
        rows = self._stack.rows(len(chosen))
        for run in self._stack.grid.runs:
            for start, count in self._stack.blocks(run) if run.kind is Kind.STEPPED else ():
                values = rows[:, :count]
                self._stack.read(chosen, run, start, values)
                yield Block(self._stack.base(run, start, count), values, old_state(self._tensors, run, start, count))

    def coordinates(self, combine: Combine, among: Sequence[int] | None = None) -> Recipe:
        chosen = self._chosen(among)
        return combined(combine, chosen, self.weights[list(chosen)])

    def mean(self, weights: Array) -> Recipe:
        return mean(weights, len(self))

    def _chosen(self, among: Sequence[int] | None) -> Sequence[int]:
        chosen = range(len(self)) if among is None else [int(i) for i in among]
        if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(len(self))):
            raise ValueError(f"among is {list(chosen)}; wanted are different numbers of 0 … {len(self) - 1}")
        return chosen


def combined(combine: Combine, among: Sequence[int], weights: Array) -> Recipe:
    """Every element, of each kind of tensor, by `combine`."""
    return Recipe(among, weights, lambda block: (combine(block.values, weights), block.state), combine)


def mean(weights: Array, count: int) -> Recipe:
    """The weighted mean of those of `count` updates whose weight is not 0."""
    given = np.asarray(weights, np.float64)
    if given.shape != (count,) or not np.all(np.isfinite(given)) or np.any(given < 0) or not given.any():
        raise ValueError(f"weights are {_shown(given)}; wanted are {count} finite numbers ≥ 0, not all 0")
    chosen = [int(i) for i in np.flatnonzero(given)]
    return combined(_weighted_mean, chosen, given[chosen])


def _weighted_mean(values: Array, weights: Array) -> Array:
    if len(values) == 1:
        alone: Array = values[0]
        return alone  # (w·u)/w is not u in one float64 of eleven
    for row, weight in zip(values, weights, strict=True):
        np.multiply(row, weight, out=row)  # raw weights: products of float32 values with whole numbers are exact
    total: Array = np.add.reduce(values, axis=0)
    total /= weights.sum()
    return total


def _shown(weights: Array) -> str:
    return f"of shape {weights.shape}" if weights.ndim != 1 else np.array2string(weights, threshold=8, precision=4)


def old_state(tensors: Tensors, run: Run, start: int, count: int) -> State:
    """A block of each state tensor as it was before the round."""
    states: dict[str, Array] = {}
    for name, fill in tensors.fills.items():
        old = tensors.block(name, run, start, count, SCRATCH.raw)
        states[name] = np.full(count, fill) if old is None else old.astype(np.float64)
    return states
