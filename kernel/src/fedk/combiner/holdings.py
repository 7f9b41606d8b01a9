"""Holdings: results that this combiner has given receipts for, durable until their verdicts."""

import asyncio
import logging
import time
from dataclasses import dataclass

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import SQLAlchemyError

from fedk.api.errors import FedkError, StateError
from fedk.blobs.reader import Span
from fedk.blobs.spool import Spool
from fedk.combiner.batches import arrivals, batches
from fedk.combiner.parent import Parent
from fedk.rounds.clients import Arrival
from fedk.rounds.states import session_of
from fedk.state import tables as t
from fedk.state.store import Store
from fedk_protocol.v1 import tier_pb2 as tier

NAMED = 1_000
"""Tasks in one statement: SQLite takes 32,766 values, and one word may settle more."""

log = logging.getLogger("fedk.combiner")


@dataclass(frozen=True, slots=True)
class Held:
    """One result, as it is reported, and where its bytes stand."""

    arrival: Arrival
    span: Span | None

    @property
    def task(self) -> str:
        return self.arrival.task


class Holdings:
    """Those that arrive together share one fsync and one transaction; they are reported once it is committed."""

    def __init__(self, store: Store, spool: Spool, parent: Parent) -> None:
        self._store, self._spool, self._parent = store, spool, parent
        self._held: dict[str, Held] = {}  # by task
        self._coming: list[tuple[Held, asyncio.Future[None]]] = []
        self._awaited: dict[str, tuple[Held, asyncio.Future[None]]] = {}  # of those, and of what is being written
        self._going: set[str] = set()
        self._news = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._closed = False
        self.bytes = 0

    async def start(self) -> None:
        """What was held before."""
        async with self._store.reading() as db:
            for row in (await db.execute(select(t.reports))).all():
                span = self._spool.locate(row.place, row.place_offset, row.bytes) if row.place else None
                (arrival,) = arrivals(tier.Batch.FromString(row.body), _unnumbered)
                self._add(Held(arrival, span))
        self._spool.recover([held.span for held in self._held.values() if held.span is not None], open_tasks=set())
        self._loop = asyncio.create_task(self._run())

    def get(self, task: str) -> Held | None:
        return self._held.get(task)

    def all(self) -> list[Held]:
        """Everything that has a receipt and no verdict."""
        return list(self._held.values())

    async def put(self, held: Held) -> None:
        """Durable when this returns. StateError: it could not be written, and there is no receipt."""
        first, done = self._awaited.get(held.task, (self._held.get(held.task), None))
        if first is None:
            first, done = held, asyncio.get_running_loop().create_future()
            self._awaited[held.task] = first, done
            self._coming.append((first, done))
            self._news.set()
        if held.span is not None and held.span != first.span:  # it came by two ways
            self._spool.forget(held.span)
        if done is not None:
            await asyncio.shield(done)  # who leaves does not call it off

    def drop(self, task: str) -> None:
        """Its verdict is spoken."""
        held = self._held.pop(task, None)
        if held is None:
            return
        self._going.add(task)
        self._news.set()
        if held.span is not None:
            self.bytes -= held.span.size
            self._spool.forget(held.span)

    async def close(self) -> None:
        """Write what has arrived."""
        self._closed = True
        self._news.set()
        if self._loop is not None:
            await asyncio.gather(self._loop, return_exceptions=True)

    def _add(self, held: Held) -> None:
        self._held[held.task] = held
        self.bytes += held.span.size if held.span is not None else 0

    async def _run(self) -> None:
        while self._coming or self._going or not self._closed:
            await self._news.wait()
            if not self._closed:
                self._news.clear()
            coming, self._coming = self._coming, []
            going, self._going = self._going, set()
            if not (coming or going) and self._closed:
                return
            if (coming or going) and not await self._write(coming, going) and self._closed:
                return  # what is settled is told again after the next start

    async def _write(self, coming: list[tuple[Held, asyncio.Future[None]]], going: set[str]) -> bool:
        """Whether it is written."""
        try:
            if coming:
                await self._spool.sync()
            async with self._store.transaction() as tx:
                gone = sorted(going | {held.task for held, _ in coming})
                for at in range(0, len(gone), NAMED):
                    await tx.execute(delete(t.reports).where(t.reports.c.task.in_(gone[at : at + NAMED])))
                if coming:
                    await tx.execute(insert(t.reports), [self._row(held) for held, _ in coming])
        except (FedkError, SQLAlchemyError, OSError) as error:
            log.exception("results cannot be written down")
            self._going |= going
            for held, done in coming:
                del self._awaited[held.task]
                if held.span is not None:
                    self._spool.forget(held.span)
                done.set_exception(StateError(f"not written: {error}"))
            return False
        for held, done in coming:
            del self._awaited[held.task]
            self._add(held)
            done.set_result(None)
        self._parent.report(held.arrival for held, _ in coming)
        return True

    def _row(self, held: Held) -> dict[str, object]:
        (body,) = batches([held.arrival])
        return {
            "task": held.task,
            "project": held.arrival.project,
            "session": session_of(held.task),
            "client": held.arrival.client,
            "result_id": held.arrival.result_id,
            "body": body.SerializeToString(),
            "bytes": held.span.size if held.span is not None else 0,
            "place": self._spool.place(held.span) if held.span is not None else "",
            "place_offset": held.span.offset if held.span is not None else 0,
            "received_at": time.time(),
        }


def _unnumbered(number: int) -> str:
    raise ValueError(f"client {number}: what is written down names clients by their ids")
