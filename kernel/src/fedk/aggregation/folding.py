"""Folding: accepted updates of one round into its accumulator, and the accumulator into the next model."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from fedk.aggregation.accumulator import Accumulator, Write
from fedk.aggregation.contribution import Contribution, Contributions, Sum
from fedk.aggregation.formula import name_of
from fedk.aggregation.grid import PLAIN, Grid, Kind, Run
from fedk.aggregation.halves import in_halves
from fedk.aggregation.model import Model
from fedk.aggregation.noise import normal
from fedk.aggregation.numbers import BLOCK
from fedk.aggregation.scratch import SCRATCH
from fedk.aggregation.share import Share
from fedk.aggregation.state import AggregatorState, Tensors, next_scalars
from fedk.aggregation.stepping import Stepping, nowhere
from fedk.aggregation.total import Total
from fedk.api.aggregator import Array, Config, MeanAggregator, Round
from fedk.api.errors import FormulaError
from fedk_protocol.codec import layout_of

TOGETHER = 8
"""Updates that pass over the sums at once; each has a file open."""


class Folding:
    """One round's. Blocking, for one thread at a time; memory is `nbytes`, however many updates are folded.

    An error out of `fold` or `finish` leaves half a sum: only `close` is left to call, and another folding to begin.
    """

    def __init__(
        self,
        aggregator: MeanAggregator[Config],
        base: Model,
        state: AggregatorState,
        round: Round,  # noqa: A002 — the field's word
        plain: Sequence[str] = PLAIN,
        *,
        block: int = BLOCK,
        noise: Callable[[int], Array] = normal,
        total: type[Total] = Total,
    ) -> None:
        self.max_abs = 0.0  # of the next model's floats, once it is made
        self.accumulator = Accumulator(Grid(base.layout, plain), aggregator.sets, total=total)
        self._aggregator, self._base, self._state = aggregator, base, state
        self._round, self._block, self._noise = round, min(block, BLOCK), noise
        self._tensors = Tensors(aggregator, self.accumulator.grid, state.tensors)
        self._contributions = Contributions(self.accumulator.grid, self.accumulator.totals)
        self._whole = True

    @property
    def keys(self) -> frozenset[str]:
        """Updates folded."""
        return frozenset(self.accumulator.terms)

    @property
    def order(self) -> tuple[str, ...]:
        """The updates in the order in which they were added: the last bits of sums that are rounded depend on it."""
        return tuple(self.accumulator.terms)

    @property
    def nbytes(self) -> int:
        """Memory of its sums."""
        return self.accumulator.nbytes

    @property
    def has_state(self) -> bool:
        """Whether `finish` writes a blob of state tensors."""
        return bool(self._tensors.layout.tensors)

    def fold(self, *contributions: Contribution) -> None:
        """Add updates. BlobError when bytes are missing, shorter or not those of an update to this model.

        Several in one call pass over the sums and over their base together: eight of them take half the time.
        """
        for at in range(0, len(contributions), TOGETHER):
            with ExitStack() as opened, self._whole_or_not():
                coming = [self._opened(one, opened) for one in contributions[at : at + TOGETHER]]
                for _, alike in groupby(coming, key=_Coming.shape):
                    self._add(tuple(alike))

    def take(self, one: Sum) -> None:
        """Add what a combiner has summed. BlobError when bytes are missing or shorter."""
        with ExitStack() as opened, self._whole_or_not():
            parts = {name: opened.enter_context(Model.open(span)) for name, span in one.blobs.items()}
            self.accumulator.take(one.sums, parts)

    def finish(
        self,
        model_out: Write,
        state_out: Write | None = None,
        round: Round | None = None,  # noqa: A002 — the field's word
    ) -> Mapping[str, float]:
        """The next model and state into the callbacks, piece by piece, and the next scalars back. Once.

        `round` is the round as it is by now, where it has changed since this folding was begun.
        """
        if self.has_state and state_out is None:
            raise ValueError(f"{name_of(self._aggregator)} has state tensors: finish needs state_out")
        with self._whole_or_not():
            self._check_enough()
            r = self._summed_up(round or self._round)
            stepping = Stepping(
                self._aggregator, self._base, self.accumulator, self._tensors, round=r, block=self._block
            )
            stepping.write(model_out, state_out if self.has_state and state_out else nowhere)
            self.max_abs = stepping.max_abs
            scalars = next_scalars(self._aggregator, r)
        self._whole = False
        return scalars

    def close(self) -> None:
        """Give the memory back."""
        self._whole = False
        self.accumulator = Accumulator(Grid(layout_of({})), ())

    @contextmanager
    def _whole_or_not(self) -> Iterator[None]:
        if not self._whole:
            raise RuntimeError("this folding is finished, closed or broken: begin another")
        self._whole = False
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found in the next model
            yield
        self._whole = True

    # ---- adding ----

    def _opened(self, contribution: Contribution, opened: ExitStack) -> "_Coming":
        sets = self._contributions.sets
        models = {name: opened.enter_context(self._contributions.open(contribution, name)) for name in sets}
        return _Coming(self.accumulator.begin(contribution.update.key, contribution.terms), models, contribution.base)

    def _add(self, alike: Sequence["_Coming"]) -> None:
        base = alike[0].base
        for name, model in alike[0].models.items():
            joined = name == "model" and self._aggregator.of == "model"  # then all floats are treated alike
            for run in self.accumulator.grid.line_up(model.layout, base.layout, joined=joined):
                if name == "model" or run.kind is Kind.STEPPED:
                    self._add_run(name, run, alike, base if self._subtracts(name, run) else None)

    def _subtracts(self, name: str, run: Run) -> bool:
        return self._aggregator.of == "delta" and name == "model" and run.kind is Kind.STEPPED

    def _add_run(self, name: str, run: Run, alike: Sequence["_Coming"], base: Model | None) -> None:
        def add(starts: range) -> None:
            for start in starts:
                count = min(self._block, run.count - start)
                other = None if base is None else _base_block(base, run, start, count)
                offset = run.offset + start * run.dtype.itemsize
                for one in alike:
                    block = one.models[name].block(run.dtype, offset, count, SCRATCH.raw)
                    self.accumulator.add(one.share, name, run, start, block, other)

        in_halves(range(0, run.count, self._block), add)

    # ---- finishing ----

    def _check_enough(self) -> None:
        count, fewest = self.accumulator.count, max(1, self._aggregator.minimum())
        if count < fewest:
            raise FormulaError(f"{name_of(self._aggregator)} needs at least {fewest} updates, got {count}")
        if not 0 < self.accumulator.weight < math.inf:
            weight = self.accumulator.weight
            raise FormulaError(f"{name_of(self._aggregator)}: the weights of {count} updates sum to {weight:g}")

    def _summed_up(self, r: Round) -> Round:
        total = self.accumulator.summary()
        return replace(
            r,
            count=len(total.terms),
            weight=total.weight,
            sums=total.scalars,
            scalars=self._state.scalars,
            normal=self._noise if self._aggregator.random else r.normal,
        )


@dataclass(frozen=True, slots=True)
class _Coming:
    """An update that is being folded."""

    share: Share
    models: Mapping[str, Model]  # by tensor set
    base: Model

    def shape(self) -> tuple[int, ...]:
        """Equal for updates whose elements stand at the same places, and that have the same base."""
        return id(self.base), *(id(model.layout) for model in self.models.values())


def _base_block(base: Model, run: Run, start: int, count: int) -> Array:
    values = SCRATCH.base_values[:count]
    np.copyto(values, base.block(run.dtype, run.base_offset + start * run.dtype.itemsize, count, SCRATCH.base_raw))
    return values
