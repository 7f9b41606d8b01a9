"""Opening a session: its aggregator, its models, and what its rows say of accepted results."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.aggregation.expected import expect
from fedk.aggregation.intake import Place
from fedk.aggregation.model import Model
from fedk.aggregation.state import AggregatorState
from fedk.aggregation.terms import Terms
from fedk.api.aggregator import MeanAggregator
from fedk.api.config import Config
from fedk.blobs.spool import Spool
from fedk.blobs.store import Blobs, Stored
from fedk.rounds.book import new_id
from fedk.rounds.clients import Arrival, Input, Measured
from fedk.rounds.clock import Clock
from fedk.rounds.ledger import Record
from fedk.rounds.live import Base, Live, Means, Taken
from fedk.rounds.making import Made
from fedk.rounds.rules import Rules
from fedk.rounds.states import Session, Token
from fedk.state import tables as t

INLINE_MAX = 64 * 2**10
"""Bytes of the largest blob that travels inside a task."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An aggregator that a session uses."""

    aggregator: MeanAggregator[Config]
    name: str
    version: str


class Aggregators(Protocol):
    """Where aggregators come from: the catalogue."""

    def __call__(self, rules: Rules) -> Loaded:
        """The one that `rules` name, with their settings. PluginError or ConfigError says what is wrong."""


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
        loaded = self.aggregators(live.state.rules)
        live.aggregator, live.config = loaded.aggregator, loaded.aggregator.config.model_dump(mode="json")

    async def base(self, live: Live, no: int, id_: str, stored: Stored, digest: bytes) -> Base:
        """A committed model, open. BlobError where its bytes are missing or damaged."""
        assert live.aggregator is not None  # noqa: S101  # a session without one is paused
        span = await self.blobs.span(live.project, stored.sha256)
        model = Model.open(span)
        limits = live.state.rules.limits
        expected = expect(
            live.aggregator,
            model,
            max_abs=limits.max_abs,
            max_examples=limits.max_examples,
            max_norm=limits.max_norm,
            plain=live.state.rules.aggregator.plain,
        )
        inline = model.reader.read(0, stored.size) if stored.size <= INLINE_MAX else None
        return Base(
            no, id_, stored, digest, model, expected, {"model": Input(stored.sha256, stored.size, inline=inline)}
        )

    async def restore(self, db: AsyncConnection, live: Live) -> None:
        """Open the head's model, the state beside it, and every accepted result."""
        rounds = {live.state.head} | {task.base for task in live.state.tasks.values() if task.state != "settled"}
        for row in await _models(db, live, rounds - {-1}):
            live.bases[row.round] = await self.base(live, row.round, row.id, Stored(row.sha256, row.bytes), row.digest)
            if row.round == live.state.head:
                live.aggregator_state = await self.state(live, row.state_sha256, row.state_scalars)
        if live.state.head < 1:
            live.aggregator_state = self.initial_state(live)
        for row in await _results(db, live):
            live.taken[row.task] = _taken(row, self.spool)
        await _means(db, live)

    def initial_state(self, live: Live) -> AggregatorState:
        """Before the first round."""
        return AggregatorState(None, dict(live.aggregator.initial_scalars()) if live.aggregator is not None else {})

    async def state(self, live: Live, sha256: bytes | None, scalars: Mapping[str, float]) -> AggregatorState:
        """The aggregator's state that belongs to a model."""
        tensors = Model.open(await self.blobs.span(live.project, sha256)) if sha256 else None
        return AggregatorState(tensors, dict(scalars))

    async def next(self, live: Live, no: int, made: Made, digest: bytes) -> Base:
        """The base that a model just made becomes."""
        return await self.base(live, no, new_id(), made.model, digest)


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
        blobs={name: Place(at, size, bytes.fromhex(sha)) for name, (at, size, sha) in row.blobs.items()},
        norm=row.norm,
        max_abs=row.max_abs,
    )
    return Taken(arrival, Terms(row.weight, row.scale, row.sums), row.staleness)


async def _means(db: AsyncConnection, live: Live) -> None:
    """The running means of the open round and of the newest model."""
    open_round = live.state.round.no if live.state.round else live.state.head + 1
    wanted = (t.metrics.c.session == live.state.id, t.metrics.c.round >= open_round - 1)
    found: dict[tuple[int, str, str], dict[str, Any]] = {}
    for row in (await db.execute(select(t.metrics).where(*wanted))).all():
        one = found.setdefault((row.round, row.kind, row.task), {"n": row.num_examples, "metrics": {}})
        one["metrics"][row.name.removeprefix(f"{row.kind}.")] = row.value
    for (no, kind, _), one in found.items():
        means = live.trained if kind == "train" else live.measured
        if kind != "train" or no >= open_round:
            means.setdefault(no, Means()).add(kind, Measured(one["n"], one["metrics"]))
