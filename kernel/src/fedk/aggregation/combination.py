"""A recipe over the stack, block by block: what the accumulator is for means, for the other shapes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedk.aggregation.formula import formula, name_of
from fedk.aggregation.grid import Kind, Run
from fedk.aggregation.numbers import Numbers
from fedk.aggregation.passes import old_state
from fedk.aggregation.stack import Stack
from fedk.aggregation.state import Tensors
from fedk.api.aggregator import AnyAggregator, Array, Block, Config, Recipe
from fedk.api.errors import FormulaError


class Combination:
    """The last pass over the updates: each block is made when the step asks for it, and is not kept."""

    sets: Sequence[str] = ()

    def __init__(
        self,
        aggregator: AnyAggregator[Config],
        recipe: Recipe,
        stack: Stack,
        tensors: Tensors,
        own: Sequence[str],  # states that the recipe makes
    ) -> None:
        self.grid = stack.grid
        self.states: Mapping[str, Array] = {}  # of the block that was made last
        self._aggregator, self._recipe, self._stack, self._tensors, self._own = aggregator, recipe, stack, tensors, own
        self._values = stack.rows(len(recipe.among))
        self._range: tuple[Numbers, Numbers] | None = None

    def mean(self, name: str, run: Run, start: int, out: Array) -> Array:
        """The block of the result that `out` has room for."""
        values = self._values[:, : out.size]
        if run.kind is Kind.WHOLE:
            self._read_whole(run, start, values)
        else:
            self._stack.read(self._recipe.among, run, start, values)
        with formula(self._aggregator, "its combination of the updates"):
            if run.kind is Kind.STEPPED:
                np.copyto(out, self._stepped(run, start, values))
            else:
                np.copyto(out, self._checked(self._recipe.plain(values, self._recipe.weights), out.size, "the block"))
        return out

    def range_of(self, run: Run, start: int, count: int) -> tuple[Numbers, Numbers]:
        """Least and greatest value of each integer of the block that was made last."""
        assert self._range is not None  # noqa: S101 — `mean` came first
        return self._range

    def rooms(self, run: Run) -> list[Array]:
        return []

    def _stepped(self, run: Run, start: int, values: Array) -> Array:
        count = values.shape[1]
        old = {name: one for name, one in old_state(self._tensors, run, start, count).items() if name in self._own}
        x, states = self._recipe.step(Block(self._stack.base(run, start, count), values, old))
        if set(states) != set(self._own):
            wanted, got = sorted(self._own), sorted(states)
            raise FormulaError(f"{name_of(self._aggregator)} made the states {got}, initial() names {wanted}")
        self.states = {name: self._checked(states[name], count, f"state {name}") for name in self._own}
        return self._checked(x, count, "the block")

    def _read_whole(self, run: Run, start: int, values: Array) -> None:
        least = greatest = None
        for row, i in zip(values, self._recipe.among, strict=True):
            block = self._stack.raw(i, run, start, row.size)
            np.copyto(row, block)
            least = block.copy() if least is None else np.minimum(least, block)
            greatest = block.copy() if greatest is None else np.maximum(greatest, block)
        assert least is not None  # noqa: S101 — a recipe has an update
        assert greatest is not None  # noqa: S101 — as above
        self._range = least, greatest

    def _checked(self, value: Any, count: int, what: str) -> Array:
        array = np.asarray(value, np.float64)
        if array.shape != (count,):
            text = f"made {what} of shape {array.shape} of {count:,} elements of {len(self._values)} updates"
            raise FormulaError(f"{name_of(self._aggregator)} {text}; it must be elementwise")
        return array
