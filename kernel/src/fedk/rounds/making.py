"""Making one model: takes accepted updates in a worker thread while others arrive, and finishes when the round closes.

Means are added up meanwhile; other shapes wait for all updates, which stay in the spool.
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
    recipe: Mapping[str, Any] = field(default_factory=dict)


class Making:
    """One round's running aggregate. An accumulator is a cache of the spool: it may be dropped and folded again."""

    def __init__(self, start: Callable[[], AnyFolding]) -> None:
        self._start = start
        self._folding: AnyFolding | None = None
        self._waiting: deque[Contribution] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._fold_seconds = 0.0

    def add(self, contribution: Contribution) -> None:
        """Fold it as soon as the ones before it are folded."""
        self._waiting.append(contribution)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while self._waiting and self._failure is None:
            batch, self._waiting = list(self._waiting), deque()
            try:
                await asyncio.to_thread(self._fold, batch)
            except Exception as error:  # noqa: BLE001  # raised again where the model is wanted: finish()
                self._failure = error

    def _fold(self, batch: Iterable[Contribution]) -> None:
        began = time.perf_counter()
        if self._folding is None:
            self._folding = self._start()
        self._folding.fold(*batch)
        self._fold_seconds += time.perf_counter() - began

    async def finish(
        self, wanted: Mapping[str, Contribution], sums: Sequence[Sum], project: str, hold: Hold, view: Round
    ) -> Made:
        """The next model from exactly `wanted`, by key, and the combiners' `sums`: what was folded ahead is used if it
        is that set.

        `view` is the round as it closes, `hold` the commit's. After an error it may be called again, with other updates.
        """
        if self._worker is not None:
            await self._worker
        failure, self._failure = self._failure, None
        if failure is not None:
            self.close()
            raise failure
        try:
            return await asyncio.to_thread(self._finish, wanted, sums, project, hold, view)
        except BaseException:
            self.close()  # what is half folded cannot be gone on with
            raise

    def _finish(
        self, wanted: Mapping[str, Contribution], sums: Sequence[Sum], project: str, hold: Hold, view: Round
    ) -> Made:
        if self._folding is not None and not self._folding.keys <= wanted.keys():
            self.close()
        folded = self._folding.keys if self._folding is not None else frozenset()
        self._fold([wanted[key] for key in sorted(wanted.keys() - folded)])
        assert self._folding is not None  # noqa: S101  # _fold started it
        for one in sums:
            assert isinstance(self._folding, Folding)  # noqa: S101  # only means are summed elsewhere
            self._folding.take(one)
        began = time.perf_counter()
        with hold.part(project) as model, ExitStack() as opened:
            state = opened.enter_context(hold.part(project)) if self._folding.has_state else None
            scalars = self._folding.finish(model.write, state.write if state else None, view)
            made = Made(model.seal(), state.seal() if state else None, dict(scalars), self._folding.max_abs)
        seconds = {"fold": round(self._fold_seconds, 6), "store": round(time.perf_counter() - began, 6)}
        return replace(made, seconds=seconds)

    def close(self) -> None:
        """Give the accumulator's memory back."""
        if self._folding is not None:
            self._folding.close()
            self._folding = None


def copy(span: Span, project: str, hold: Hold) -> Stored:
    """A client's bytes as they are: the initial model, or an update that is kept."""
    with Reader(span) as reader, hold.part(project) as part:
        for at in range(0, reader.size, COPY):
            part.write(reader.read(at, min(COPY, reader.size - at)))
        return part.seal()
