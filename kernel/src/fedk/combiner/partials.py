"""Partials: what a flush asks for, added up into a file that is written down before it is sent and never changes."""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, select

from fedk.aggregation.contribution import Contribution, Sum
from fedk.aggregation.exact import Exact
from fedk.aggregation.folding import Folding
from fedk.aggregation.intake import Place
from fedk.aggregation.model import Model
from fedk.aggregation.state import AggregatorState
from fedk.aggregation.total import Total
from fedk.api.aggregator import Array, MeanAggregator, Round, State
from fedk.api.config import Config
from fedk.api.errors import FedkError
from fedk.blobs import disk
from fedk.rounds.ledger import places_row, read_places
from fedk.state import tables as t
from fedk.state.store import Store
from fedk_protocol.rooms import ROOMS, Resting


@dataclass(frozen=True, slots=True)
class Partial:
    """A sum of updates in a file."""

    number: int
    session: str
    round: int
    terms: Mapping[str, tuple[float, float]]  # weight and scale by task: what is in it
    path: Path
    blobs: Mapping[str, Place]
    raw: bool
    total: str


class Partials:
    """By session and number. A number is drawn once: no other content ever has it."""

    def __init__(self, store: Store, root: Path) -> None:
        self._store, self._root = store, root
        self._partials: dict[tuple[str, int], Partial] = {}
        self.seconds = 0.0
        self._resting = Resting(ROOMS.trim)
        disk.create(root)

    async def start(self, held: Callable[[str], object]) -> None:
        """Those that were written down, and of which an update is `held` by its task: the others' verdicts have been
        spoken, or they can be made again. Files of others are half a sum.
        """
        async with self._store.reading() as db:
            for row in (await db.execute(select(t.partials))).all():
                one = Partial(
                    int(row.name),
                    row.session,
                    row.round,
                    {task: (weight, scale) for task, (weight, scale) in row.tasks.items()},
                    self._root / row.place,
                    read_places(row.blobs),
                    row.raw,
                    row.total,
                )
                self._partials[row.session, one.number] = one
        for one in [one for one in self._partials.values() if not any(map(held, one.terms))]:
            self.forget(one)
            await self.delete(one)
        known = {one.path for one in self._partials.values()}
        for path in self._root.iterdir():
            if path not in known:
                path.unlink()

    def get(self, session: str, number: int) -> Partial | None:
        return self._partials.get((session, number))

    def of(self, session: str, terms: Mapping[str, tuple[float, float]]) -> Partial | None:
        """The one of just these updates with just these terms, if it is there."""
        return next((s for s in self._partials.values() if s.session == session and s.terms == terms), None)

    def having(self, task: str) -> list[Partial]:
        """Those that a task's update is in."""
        return [one for one in self._partials.values() if task in one.terms]

    async def make(  # noqa: PLR0917  # what it is of, then what is in it
        self,
        session: str,
        project: str,
        round_: int,
        terms: Mapping[str, tuple[float, float]],
        parts: Sequence[Contribution],
        sums: Sequence[Sum],
        *,
        base: Model,
        order: "Order",
    ) -> Partial:
        """Add updates and others' sums up, and write down. BlobError: one of them cannot be read."""
        number = secrets.randbits(52)
        path = self._root / f"{number}.sum"
        try:
            blobs, raw, total = await asyncio.to_thread(self._add_up, path, parts, sums, base, order)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            self._resting.begin()
        one = Partial(number, session, round_, terms, path, blobs, raw, total)
        try:
            async with self._store.transaction() as tx:
                await tx.execute(insert(t.partials).values(self._row(one, project)))
        except FedkError:
            path.unlink(missing_ok=True)
            raise
        self._partials[session, number] = one
        return one

    def forget(self, one: Partial) -> None:
        """It is at the parent, or nobody's: `delete` it."""
        self._partials.pop((one.session, one.number), None)

    async def delete(self, one: Partial) -> None:
        """Its row and its file."""
        async with self._store.transaction() as tx:
            wanted = (t.partials.c.session == one.session, t.partials.c.name == str(one.number))
            await tx.execute(delete(t.partials).where(*wanted))
        one.path.unlink(missing_ok=True)

    def _row(self, one: Partial, project: str) -> dict[str, Any]:
        return {
            "session": one.session,
            "name": str(one.number),
            "project": project,
            "round": one.round,
            "tasks": {task: list(terms) for task, terms in one.terms.items()},
            "raw": one.raw,
            "total": one.total,
            "blobs": places_row(one.blobs),
            "bytes": one.path.stat().st_size,
            "place": one.path.name,
            "received_at": time.time(),
        }

    # ---- in a thread ----

    def _add_up(
        self, path: Path, parts: Sequence[Contribution], sums: Sequence[Sum], base: Model, order: "Order"
    ) -> tuple[Mapping[str, Place], bool, str]:
        began = time.perf_counter()
        folding = Folding(
            order.mean(),
            base,
            AggregatorState(),
            Round(0, 0, 0, {}),
            order.plain,
            total=Exact if order.exact else Total,
        )
        try:
            folding.fold(*parts)
            for one in sums:
                folding.take(one)
            summary, places = folding.accumulator.summary(), dict[str, Place]()
            with disk.writing(path), path.open("wb") as file:
                for name in sorted(folding.accumulator.parts()):
                    start, digest = file.tell(), hashlib.sha256()

                    def write(data: bytes | memoryview, digest: Any = digest, file: Any = file) -> None:
                        digest.update(data)
                        file.write(data)

                    folding.accumulator.export(name, write)
                    places[name] = Place(start, file.tell() - start, digest.digest())
            disk.sync(path)
            disk.sync(path.parent)
        finally:
            folding.close()
        self.seconds += time.perf_counter() - began
        return places, summary.raw, summary.total


@dataclass(frozen=True, slots=True)
class Order:
    """How the parent wants updates added up."""

    delta: bool
    sets: tuple[str, ...]
    plain: tuple[str, ...]
    exact: bool

    def mean(self) -> MeanAggregator[Config]:
        """A formula that is never finished here."""
        found = _Summed()
        vars(found).update(of="delta" if self.delta else "model", sets=self.sets)
        return found


class _Summed(MeanAggregator[Config]):
    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:  # the contract's word
        raise NotImplementedError
