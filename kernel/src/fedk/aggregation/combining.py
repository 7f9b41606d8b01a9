"""Combining: what folding is for means, for the shapes that need all updates at once. They wait in the spool."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from fedk.aggregation.accumulator import Write
from fedk.aggregation.combination import Combination
from fedk.aggregation.contribution import Contribution, Contributions
from fedk.aggregation.followed import Followed
from fedk.aggregation.formula import formula, name_of
from fedk.aggregation.geometry import geometry
from fedk.aggregation.grid import PLAIN, Grid
from fedk.aggregation.model import Model
from fedk.aggregation.noise import normal
from fedk.aggregation.numbers import BLOCK
from fedk.aggregation.passes import Passes, combined, mean
from fedk.aggregation.places import Places
from fedk.aggregation.stack import Brought, Stack
from fedk.aggregation.state import AggregatorState, Tensors, next_scalars
from fedk.aggregation.stepping import Stepping, nowhere
from fedk.api.aggregator import (
    Aggregator,
    AnyAggregator,
    Array,
    Config,
    CoordinateAggregator,
    Recipe,
    Round,
    SelectionAggregator,
)
from fedk.api.errors import FormulaError
from fedk_protocol.codec import Layout


class Combining:
    """One round's, with the interface of a Folding. Memory is some blocks, however many and large the updates are.

    Where the state has two tensors or more (`aggregator.then`), all but the first wait for one run of the model: 8
    bytes an element.
    """

    def __init__(
        self,
        aggregator: AnyAggregator[Config],
        base: Model,
        state: AggregatorState,
        round: Round,  # noqa: A002 — the field's word
        plain: Sequence[str] = PLAIN,
        *,
        block: int = BLOCK,
        noise: Callable[[int], Array] = normal,
    ) -> None:
        self.max_abs = 0.0  # of the next model's floats, once it is made
        self._whole = aggregator if isinstance(aggregator, Followed) else Followed(aggregator)
        self._first = self._whole.first
        self._base, self._state, self._round, self._block, self._noise = base, state, round, block, noise
        self._grid = Grid(base.layout, plain)
        self._tensors = Tensors(self._whole, self._grid, state.tensors)
        self._contributions = Contributions(self._grid)
        self._places: tuple[Layout, Places] = (base.layout, Places(self._grid, base.layout))
        self._brought: dict[str, Brought] = {}
        self._open = True

    @property
    def keys(self) -> frozenset[str]:
        """Updates that are there."""
        return frozenset(self._brought)

    @property
    def order(self) -> tuple[str, ...]:
        """The updates in the order in which they are read: that of their keys."""
        return tuple(sorted(self._brought))

    @property
    def nbytes(self) -> int:
        """Memory that it keeps between two calls: none to speak of."""
        return 0

    @property
    def has_state(self) -> bool:
        """Whether `finish` writes a blob of state tensors."""
        return bool(self._tensors.layout.tensors)

    def fold(self, *contributions: Contribution) -> None:
        """Add updates. BlobError when bytes are missing, shorter or not those of an update to this model."""
        self._check_open()
        for contribution in contributions:
            self._bring(contribution)

    def _bring(self, contribution: Contribution) -> None:
        key = contribution.update.key
        if key in self._brought:
            raise ValueError(f"already there: {key}")
        with self._contributions.open(contribution, "model") as model:
            places = self._placed(model.layout)
        self._brought[key] = Brought(
            contribution.update, contribution.terms.weight, contribution.blobs["model"], places, contribution.base
        )

    def finish(
        self,
        model_out: Write,
        state_out: Write | None = None,
        round: Round | None = None,  # noqa: A002 — the field's word
    ) -> Mapping[str, float]:
        """As Folding's."""
        self._check_open()
        if self.has_state and state_out is None:
            raise ValueError(f"{name_of(self._whole)} has state tensors: finish needs state_out")
        self._check_enough()
        self._open = False
        with self._stacked() as stack, np.errstate(over="ignore", invalid="ignore"):  # found in the next model
            r = self._summed_up(stack, round or self._round)
            recipe = self._recipe(stack, r)
            r = replace(r, sums=recipe.sums)
            source = Combination(self._first, recipe, stack, self._tensors, tuple(self._first.initial()))
            stepping = Stepping(self._whole, self._base, source, self._tensors, round=r, block=stack.width)
            stepping.write(model_out, state_out if self.has_state and state_out else nowhere)
        self.max_abs = stepping.max_abs
        return next_scalars(self._whole, r)

    def close(self) -> None:
        self._open = False
        self._brought.clear()

    def _check_open(self) -> None:
        if not self._open:
            raise RuntimeError("this combining is finished, closed or broken: begin another")

    def _check_enough(self) -> None:
        count, fewest = len(self._brought), max(1, self._whole.minimum())
        if count < fewest:
            raise FormulaError(f"{name_of(self._whole)} needs at least {fewest} updates, got {count}")

    def _placed(self, layout: Layout) -> Places:
        """Those of the update before, where it has the same header: nearly always."""
        if layout is not self._places[0]:
            self._places = layout, Places(self._grid, layout)
        return self._places[1]

    @contextmanager
    def _stacked(self) -> Iterator[Stack]:
        stack = Stack(self._grid, self._base, list(self._brought.values()), block=self._block)
        try:
            yield stack
        finally:
            stack.close()

    def _summed_up(self, stack: Stack, r: Round) -> Round:
        return replace(
            r,
            count=len(stack),
            weight=float(stack.weights.sum()),
            scalars=self._state.scalars,
            normal=self._noise if self._whole.random else r.normal,
        )

    def _recipe(self, stack: Stack, r: Round) -> Recipe:
        """What the formula makes of the updates, however many passes it takes; only the last is left."""
        first, weights = self._first, stack.weights.copy()
        if isinstance(first, CoordinateAggregator):
            return combined(first.combine, range(len(stack)), weights)
        if isinstance(first, SelectionAggregator):
            near = geometry(stack)
            with formula(first, "choose"):
                return mean(first.choose(near, weights), len(stack))
        if isinstance(first, Aggregator):
            with formula(first, "aggregate"):
                return first.aggregate(Passes(stack, self._tensors), r)
        raise TypeError(f"{name_of(first)} has none of the shapes that are combined")
