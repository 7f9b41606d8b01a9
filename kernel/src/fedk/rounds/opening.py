"""Opening a session: its aggregator, its models, and what its rows say of accepted results."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.aggregation.expected import Expected, expect
from fedk.aggregation.model import Model
from fedk.aggregation.sending import send
from fedk.aggregation.state import AggregatorState
from fedk.aggregation.terms import Terms
from fedk.blobs.hold import Hold
from fedk.blobs.part import Stored
from fedk.blobs.spool import Spool
from fedk.blobs.store import Blobs
from fedk.rounds.clients import Arrival, Input, Measured
from fedk.rounds.clock import Clock
from fedk.rounds.ledger import Record, read_places
from fedk.rounds.live import SHOWN, Base, Live, Means, Summed, Taken
from fedk.rounds.loaded import Aggregators
from fedk.rounds.states import Session, Token
from fedk.state import tables as t

FEW = 100
"""Tensors of a model that are lined up on the event loop (0.1 ms): handing them to a thread and back costs more."""

INLINE_MAX = 64 * 2**10
"""Bytes of the largest blob that travels inside a task."""


@dataclass(frozen=True, slots=True)
class Opener:
    """Makes a Live of what the rows say."""

    blobs: Blobs
    spool: Spool
    aggregators: Aggregators

    def live(self, state: Session, record: Record, fire: Callable[[Token], None]) -> Live:
        """The session without files; `equip` adds its aggregator."""
        return Live(state, record, Clock(fire))

    def equip(self, live: Live) -> None:
        """Load its aggregator. PluginError where it is missing."""
        live.equip(self.aggregators(live.state.rules))

    async def base(
        self,
        live: Live,
        no: int,
        id_: str,
        stored: Stored,
        digest: bytes,
        *,
        hold: Hold,
        state: AggregatorState,
        max_abs: float | None = None,
    ) -> Base:
        """A committed model, open, with what the aggregator sends along, and which takes `hold`. BlobError: its bytes are
        missing or damaged. Where it cannot be made, `hold` and `state` are closed.
        """
        assert live.aggregator is not None  # noqa: S101  # a session without one is paused
        limits = live.state.rules.limits
        with ExitStack() as undone:
            undone.callback(hold.close)
            undone.callback(state.close)
            model = undone.enter_context(Model.open(await self.blobs.span(live.project, stored.sha256)))
            expecting = partial(
                expect,
                live.aggregator,
                model,
                max_abs=limits.max_abs,
                max_examples=limits.max_examples,
                max_norm=limits.max_norm,
                plain=live.state.rules.aggregator.plain,
                base_max_abs=max_abs,
            )
            at_once = max_abs is not None and len(model.layout.tensors) <= FEW
            expected = expecting() if at_once else await asyncio.to_thread(expecting)
            inputs = {"model": Input(stored.sha256, stored.size, inline=_inline(model, stored.size))}
            for name, source in live.aggregator.sends.items():
                inputs[name] = await asyncio.to_thread(self._sent, live, expected, source, state, hold)
            undone.pop_all()
        return Base(no, id_, stored, digest, model, expected, inputs, hold)

    def _sent(self, live: Live, expected: Expected, source: str, state: AggregatorState, hold: Hold) -> Input:
        assert live.aggregator is not None  # noqa: S101  # as above
        assert expected.grid is not None  # noqa: S101  # there is a base
        small = bytearray()

        def write(data: bytes | memoryview) -> None:
            part.write(data)
            if len(small) <= INLINE_MAX:
                small.extend(data)

        with hold.part(live.project) as part:
            send(live.aggregator, source, state.tensors, expected.grid, write)
            stored = part.seal()
        return Input(stored.sha256, stored.size, inline=bytes(small) if stored.size <= INLINE_MAX else None)

    async def restore(self, db: AsyncConnection, live: Live) -> None:
        """Open the head's model, the state beside it, and every accepted result."""
        rounds = {live.state.head} | {task.base for task in live.state.tasks.values() if task.state != "settled"}
        for row in await _models(db, live, rounds - {-1}):
            state = (
                await self.state(live, row.state_sha256, row.state_scalars) if row.round else self.initial_state(live)
            )
            stored = Stored(row.sha256, row.bytes)
            live.bases[row.round] = await self.base(
                live, row.round, row.id, stored, row.digest, hold=self.blobs.hold(), state=state
            )
            if row.round == live.state.head:
                live.aggregator_state = state
            else:
                state.close()
        if live.state.head < 0:
            live.aggregator_state = self.initial_state(live)
        for row in await _results(db, live):
            live.taken[row.task] = _taken(row, self.spool)
        for row in (await db.execute(select(t.partials).where(t.partials.c.session == live.state.id))).all():
            if row.round > live.state.head:
                live.partials[row.name] = _summed(row, self.spool)
        await _means(db, live)

    def initial_state(self, live: Live) -> AggregatorState:
        """Before the first round."""
        return AggregatorState(None, dict(live.aggregator.initial_scalars()) if live.aggregator is not None else {})

    async def state(self, live: Live, sha256: bytes | None, scalars: Mapping[str, float]) -> AggregatorState:
        """The aggregator's state that belongs to a model."""
        tensors = Model.open(await self.blobs.span(live.project, sha256)) if sha256 else None
        return AggregatorState(tensors, dict(scalars))


def _inline(model: Model, size: int) -> bytes | None:
    return model.reader.read(0, size) if size <= INLINE_MAX else None


async def _models(db: AsyncConnection, live: Live, rounds: Iterable[int]) -> Any:
    wanted = (t.models.c.session == live.state.id, t.models.c.round.in_(list(rounds)))
    return (await db.execute(select(t.models).where(*wanted))).all()


async def _results(db: AsyncConnection, live: Live) -> Any:
    joined = t.results.join(t.tasks, t.results.c.task == t.tasks.c.id)
    wanted = (t.results.c.session == live.state.id, t.tasks.c.state == "accepted")
    return (await db.execute(select(t.results, t.tasks.c.client).select_from(joined).where(*wanted))).all()


def _taken(row: Any, spool: Spool) -> Taken:
    arrival = Arrival(
        task=row.task,
        client=row.client,
        result_id=row.result_id,
        num_examples=row.num_examples,
        metrics=row.metrics,
        sha256=row.sha256,
        span=spool.locate(row.place, row.place_offset, row.bytes) if row.place else None,
        blobs=read_places(row.blobs),
        norm=row.norm,
        max_abs=row.max_abs,
        via=tuple(filter(None, row.via.split("/"))),
    )
    return Taken(arrival, Terms(row.weight, row.scale, row.sums), row.staleness)


def _summed(row: Any, spool: Spool) -> Summed:
    span, blobs = spool.locate(row.place, 0, row.bytes), read_places(row.blobs)
    return Summed(row.name, row.round, frozenset(row.tasks), span, blobs, row.raw, row.total)


async def _means(db: AsyncConnection, live: Live) -> None:
    """The running means of the open round and of the newest model."""
    open_round = live.state.round.no if live.state.round else live.state.head + 1
    m = t.metrics.c
    wanted = (m.session == live.state.id, m.round >= open_round - 1, m.kind != SHOWN)
    found: dict[tuple[int, str, str], dict[str, Any]] = {}
    for row in (await db.execute(select(t.metrics).where(*wanted))).all():
        one = found.setdefault((row.round, row.kind, row.task), {"n": row.num_examples, "metrics": {}})
        one["metrics"][row.name.removeprefix(f"{row.kind}.")] = row.value
    for (no, kind, _), one in found.items():
        means = live.trained if kind == "train" else live.measured
        if kind != "train" or no >= open_round:
            means.setdefault(no, Means()).add(kind, Measured(one["n"], one["metrics"]))
