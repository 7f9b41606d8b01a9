"""Making one model: takes accepted updates in a worker thread while others arrive, and finishes when the round closes.

Means are added up meanwhile, where there is memory to spare; other shapes wait for all updates, which stay in the spool.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from fedk.aggregation.composition import AnyFolding
from fedk.aggregation.contribution import Contribution, Sum
from fedk.aggregation.folding import Folding
from fedk.api.aggregator import Round
from fedk.blobs.hold import Hold
from fedk.blobs.part import Stored
from fedk.blobs.reader import Reader, Span
from fedk.rounds.budget import Budget

COPY = 2**20


@dataclass(frozen=True, slots=True)
class Made:
    """A model whose bytes are durable, and the aggregator's state that belongs to it."""

    model: Stored
    state: Stored | None = None
    scalars: Mapping[str, float] = field(default_factory=dict)
    max_abs: float | None = None  # largest |element| of the model, where it was made here
    seconds: Mapping[str, float] = field(default_factory=dict)  # fold, store
    updates: tuple[Stored, ...] = ()  # those that are kept
    order: tuple[str, ...] = ()  # keys of the updates as they were added up
    recipe: Mapping[str, Any] = field(default_factory=dict)


class Making:
    """One round's running aggregate. An accumulator is a cache of the spool: it may be dropped and folded again."""

    def __init__(self, start: Callable[[], AnyFolding], memory: Budget, *, small: bool = False) -> None:
        """A `small` one is begun in less time than a thread is."""
        self._start, self._memory, self._small = start, memory, small
        self._needed = False  # the round is closed, its model is being made
        self._over = False
        self._folding: AnyFolding | None = None
        self._waiting: deque[Contribution] = deque()
        self._added: set[str] = set()  # keys
        self._worker: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._fold_seconds = 0.0

    def add(self, contribution: Contribution) -> None:
        """Fold it as soon as the ones before it are folded, if there is memory: else when the round is closed.

        One of a key that is folded, or waits to be, changes nothing.
        """
        if contribution.update.key in self._added:
            return
        self._added.add(contribution.update.key)
        self._waiting.append(contribution)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while self._waiting and self._failure is None:
            batch, self._waiting = list(self._waiting), deque()
            try:
                if await self._may_fold():
                    await asyncio.to_thread(self._fold, batch)
            except Exception as error:  # noqa: BLE001  # raised again where the model is wanted: finish()
                self._failure = error
            if self._memory.short and not self._needed:
                self.drop()

    async def _may_fold(self) -> bool:
        if self._folding is not None:
            return True
        folding = await self._started()
        if self._over or not self._memory.spare(self, folding.nbytes):
            folding.close()
            return False
        self._folding = folding
        return True

    async def _started(self) -> AnyFolding:
        return self._start() if self._small else await asyncio.to_thread(self._start)

    def _fold(self, batch: Iterable[Contribution]) -> None:
        began = time.perf_counter()
        assert self._folding is not None  # noqa: S101  # whoever folds has begun it
        self._folding.fold(*batch)
        self._fold_seconds += time.perf_counter() - began

    async def finish(
        self, wanted: Mapping[str, Contribution], sums: Sequence[Sum], project: str, hold: Hold, view: Round
    ) -> Made:
        """The next model from exactly `wanted`, by key, and the combiners' `sums`: what was folded ahead is used if it
        is that set.

        `view` is the round as it closes, `hold` the commit's. After an error it may be called again, with other updates.
        """
        self._needed = True
        try:
            if self._worker is not None:
                await self._worker
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            await self._begin(frozenset(wanted))
            return await asyncio.to_thread(self._finish, wanted, sums, project, hold, view)
        finally:
            self.drop()  # what is half folded cannot be gone on with
            self._needed = False

    async def _begin(self, wanted: frozenset[str]) -> None:
        """Go on from what was folded ahead, or without it."""
        if self._folding is not None and not self._folding.keys <= wanted:
            self.drop()
        if self._folding is None:
            folding = await self._started()
            await self._memory.take(self, folding.nbytes)
            self._folding = folding

    def _finish(
        self, wanted: Mapping[str, Contribution], sums: Sequence[Sum], project: str, hold: Hold, view: Round
    ) -> Made:
        assert self._folding is not None  # noqa: S101  # _begin saw to it
        self._fold([wanted[key] for key in sorted(wanted.keys() - self._folding.keys)])
        for one in sums:
            assert isinstance(self._folding, Folding)  # noqa: S101  # only means are summed elsewhere
            self._folding.take(one)
        began, order = time.perf_counter(), self._folding.order
        with hold.part(project) as model, ExitStack() as opened:
            state = opened.enter_context(hold.part(project)) if self._folding.has_state else None
            scalars = self._folding.finish(model.write, state.write if state else None, view)
            made = Made(model.seal(), state.seal() if state else None, dict(scalars), self._folding.max_abs)
        seconds = {"fold": round(self._fold_seconds, 6), "store": round(time.perf_counter() - began, 6)}
        return replace(made, seconds=seconds, order=order)

    def give_way(self) -> None:
        """Drop what was folded ahead, unless it is at work: then it is dropped after its batch."""
        if not self._needed and (self._worker is None or self._worker.done()):
            self.drop()

    def drop(self) -> None:
        """Give the accumulator's memory back; another may be begun."""
        self._added.clear()
        if self._folding is not None:
            self._folding.close()
            self._folding = None
        self._memory.give(self)

    def close(self) -> None:
        """Drop it for good."""
        self._over = True
        self.drop()


def copy(span: Span, project: str, hold: Hold) -> Stored:
    """A client's bytes as they are: the initial model, or an update that is kept."""
    with Reader(span) as reader, hold.part(project) as part:
        for at in range(0, reader.size, COPY):
            part.write(reader.read(at, min(COPY, reader.size - at)))
        return part.seal()
