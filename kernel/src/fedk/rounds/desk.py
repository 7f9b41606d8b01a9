"""The desk: what people ask of sessions and models."""

import asyncio
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.aggregation.model import Model
from fedk.api.errors import ConfigError, Conflict, NotFound, StateError
from fedk.api.mistake import mistakes
from fedk.blobs.hold import Hold
from fedk.blobs.part import Stored
from fedk.blobs.reader import Span
from fedk.rounds import collected
from fedk.rounds import events as ev
from fedk.rounds.book import Book, model_row, new_id, trail_digest
from fedk.rounds.feed import Feed
from fedk.rounds.ledger import Record, session_row
from fedk.rounds.live import Live
from fedk.rounds.loaded import Loaded
from fedk.rounds.making import Made
from fedk.rounds.roster import Roster
from fedk.rounds.rules import Rules
from fedk.rounds.runner import Runner
from fedk.rounds.states import Session
from fedk.rounds.tier import Tier
from fedk.rounds.waiting import waiting_for
from fedk.state import tables as t


class Desk:
    """Creates and steers sessions. Every call returns when its rows are committed."""

    def __init__(self, runner: Runner, tier: Tier) -> None:
        self._runner, self._tier = runner, tier
        self._naming = asyncio.Lock()  # from the look for a name to its row

    @property
    def feed(self) -> Feed:
        return self._runner.feed

    @property
    def roster(self) -> Roster:
        return self._runner.roster

    # ---- combiners ----

    def combiners_now(self) -> dict[str, dict[str, Any]]:
        """What only this server knows of the combiners that are there, by name."""
        return {
            c.name: {
                "load": c.load,
                "held_bytes": c.held_bytes,
                "fold_seconds": c.fold_seconds,
                "below": [branch.document() for branch in c.below],
            }
            for c in self._runner.combiners
            if self._tier.is_here(c)
        }

    async def drain_combiner(self, name: str) -> None:
        """Its clients go elsewhere, and what it holds comes here, or to the combiner that it is below."""
        combiner = self._runner.combiners.named(name)
        if combiner is None and self._drain_below(name):
            return
        if combiner is None:
            names = ", ".join(name for c in self._runner.combiners for name in (c.name, *(b.name for b in c.below)))
            raise NotFound(f'there is no combiner "{name}". Combiners: {names or "none"}')
        if not self._tier.is_here(combiner):
            raise Conflict(f"combiner {name} is away: its clients have gone elsewhere, and deliver again what it held")
        await self._tier.drain(combiner)

    def _drain_below(self, name: str) -> bool:
        found = self._runner.combiners.above(name)
        if len(found) > 1:
            under = ", ".join(sorted(branch.parent for _, branch in found))
            raise Conflict(f"{len(found)} combiners are called {name}, under {under}: give each a name of its own")
        for above, branch in found:
            if branch.state == "lost":
                raise Conflict(f"combiner {name} is away from {branch.parent}: its clients deliver again what it held")
            self._tier.drain_below(above, branch)
        return bool(found)

    async def drained(self, name: str) -> None:
        """Returns once a combiner that drains has no client and holds nothing."""
        await self._tier.draining.end(name)

    def rebalance(self) -> int:
        """Send clients from servers with many to those with few; answers how many."""
        return self._runner.network.rebalance()

    # ---- models ----

    async def put_model(self, project: str, stored: Stored) -> str:
        """A model that a person brings, already stored; returns its id. BlobError when its bytes are no model."""
        span = await self._runner.blobs.span(project, stored.sha256)
        await asyncio.to_thread(_check_model, span)
        id_ = new_id()
        book = Book(self._runner.roster, self._runner.spool.place)
        book.blob(project, stored.sha256, stored.size, "model")
        book.reference(project, stored.sha256, "model", id_)
        book.writes.insert(
            t.models,
            {
                "id": id_,
                "project": project,
                "session": None,
                "round": None,
                "parent": None,
                "sha256": stored.sha256,
                "bytes": stored.size,
                "digest": stored.sha256,
                "aggregator": "",
                "aggregator_version": "",
                "config_hash": b"",
                "state_sha256": None,
                "state_scalars": {},
                "recipe": {},
                "seconds": {},
                "committed_at": time.time(),
            },
        )
        await self._runner.store.write(book.writes.execute)
        return id_

    # ---- sessions ----

    async def create(
        self, project: str, *, name: str | None, stem: str = "session", rules: Rules, model: str | None
    ) -> str:
        """Start a session; returns its id. `model` is a model's id; without one a client is asked.

        Without a name it is called `stem`-n. ConfigError, PluginError, NotFound or Conflict say what is wrong.
        """
        loaded = self._runner.opener.aggregators(rules)
        settled = _settled(rules, loaded, secrets.randbits(63))
        if why := loaded.aggregator.enough(loaded.aggregator.initial_scalars()):
            raise ConfigError(f"{loaded.name} would make no model: {why}")
        async with self._naming:
            live = await self._entered(project, name, stem, settled, loaded, model)
        await self._begin(live)
        return live.state.id

    async def _entered(  # noqa: PLR0917  # what was asked, checked
        self, project: str, name: str | None, stem: str, rules: Rules, loaded: Loaded, model: str | None
    ) -> Live:
        async with self._runner.store.reading() as db:
            if project not in self.roster.projects:
                raise NotFound(
                    f'project "{project}" does not exist. Projects: {", ".join(sorted(self.roster.projects))}'
                )
            first = await _model(db, project, model) if model is not None else None
            if first is not None:
                await collected.check(db, first)
            named = name or await _free_name(db, project, stem)
            await _check_name(db, project, named)
        record = Record(project, named, first.sha256 if first else None, loaded.name, loaded.version, time.time())
        live = self._runner.recovery.fresh(Session(uuid.uuid4().hex[:12], rules), record)
        live.equip(loaded)
        live.aggregator_state = self._runner.opener.initial_state(live)
        with self._runner.blobs.hold() as hold:
            await self._enter(live, Stored(first.sha256, first.bytes) if first else None, hold)
            await asyncio.to_thread(hold.settle)
        return live

    async def _enter(self, live: Live, first: Stored | None, hold: Hold) -> None:
        book = Book(self._runner.roster, self._runner.spool.place)
        if first is not None:
            await asyncio.to_thread(hold.take, live.project, first.sha256)
            digest = trail_digest(live, 0, b"", first.sha256, [])
            state = live.aggregator_state
            base = await self._runner.opener.base(live, 0, new_id(), first, digest, hold=hold, state=state)
            live.bases[0], live.record.head_model = base, base.id
            live.state = replace(live.state, head=0)
            book.writes.insert(
                t.models, model_row(live, id_=base.id, no=0, parent=None, digest_=digest, made=Made(first))
            )
            book.stored(live.project, base, Made(first))
        live.row = session_row(live.state, live.record)

        def write(tx: Connection) -> None:
            tx.execute(insert(t.sessions), live.row)
            book.writes.execute(tx)

        try:
            await self._runner.store.write(write)
        except StateError:
            if not await self._runner.knows(live.state.id):  # the answer to the commit may be lost, not the commit
                raise

    async def _begin(self, live: Live) -> None:
        self._runner.lives[live.state.id] = live
        self._runner.announce(live)
        await self._runner.settle(live.state.id, ev.Start())

    async def pause(self, session: str) -> None:
        """Ask nothing more and close no round; answers are still taken."""
        live = self._live(session)
        if live.state.status not in ("running", "paused"):
            raise Conflict(f"session {live.name} is {live.state.status}: only a running session can be paused")
        await self._runner.settle(session, ev.Pause())

    async def resume(self, session: str, changes: Mapping[str, Any] | None = None) -> None:
        """Let a paused or failed session go on, with changed rules where `changes` names some."""
        live = self._live(session)
        if live.state.status not in ("paused", "failed"):
            raise Conflict(
                f"session {live.name} is {live.state.status}: only a paused or failed session can be resumed"
            )
        if changes:
            await self._change(live, changes)
        # a failed one has closed its models, and those of a paused one are held against the limits of before
        if changes or live.missing is not None or live.state.status == "failed":
            await self._runner.reopen(session)
        await self._runner.settle(session, ev.Resume())

    async def stop(self, session: str) -> None:
        """End it for good: every open task and accepted update gets its verdict."""
        live = self._live(session)
        if live.state.status == "failed":
            raise Conflict(f"session {live.name} has failed: it is over, and can be resumed")
        await self._runner.settle(session, ev.Stop())

    async def _change(self, live: Live, changes: Mapping[str, Any]) -> None:
        document = live.state.rules.model_dump(mode="json", by_alias=True)
        for key, value in changes.items():
            _set(document, key, value)
        try:
            rules = Rules.model_validate(document)
        except ValidationError as error:
            found = mistakes(error, Rules, document)
            raise ConfigError(f"session {live.name} cannot be changed so", [str(one) for one in found]) from error
        if rules.aggregator.names != live.state.rules.aggregator.names:
            raise Conflict(f"session {live.name} keeps its aggregator {live.record.aggregator}: start another one")
        if rules.deterministic != live.state.rules.deterministic:
            raise Conflict(f"session {live.name} keeps its way of adding up (deterministic): start another one")
        if rules.codec.use != live.state.rules.codec.use:
            raise Conflict(f"session {live.name} keeps its codec: clients hold updates that travel in it")
        if live.state.round is not None and live.state.round.state == "folding":
            raise Conflict(f"session {live.name} is making model {live.state.round.no}: change it once that is there")
        loaded = self._runner.opener.aggregators(rules)
        rules = _settled(rules, loaded, live.state.rules.seed)
        await self._runner.settle(live.state.id, ev.Changed(rules), loaded)
        if self._live(live.state.id).state.rules != rules:
            raise Conflict(f"session {live.name} went on meanwhile: its rules are as they were")

    def _live(self, session: str) -> Live:
        live = self._runner.lives.get(session)
        if live is None:
            raise Conflict(f"session {session} has ended for good: start another one from its model")
        return live

    def waiting_for(self, session: str) -> list[dict[str, Any]]:
        """What the session waits for; empty when it has ended."""
        live = self._runner.lives.get(session)
        if live is None:
            return []
        found = waiting_for(live, self._runner.roster, again_in=self._runner.repairs.left(session))
        trouble, full = self._runner.trouble, self._runner.spool.full(live.project)
        if not found or not (trouble.why or full):
            return found
        left = trouble.left  # of results that find no room it is their clients who try again
        return [{"for": "repair", "why": trouble.why or full, "again_in": left if trouble.why else None}, *found]


def _set(document: dict[str, Any], key: str, value: Any) -> None:
    *tables, last = key.split(".")
    for table in tables:
        document = document.setdefault(table, {})
        if not isinstance(document, dict):
            raise ConfigError(f"{key} is not a rule: {table} is no table")
    document[last] = value


def _settled(rules: Rules, loaded: Loaded, seed: int | None) -> Rules:
    """With the aggregator's defaults. The three numbers that decide the fewest updates of a commit must not fall below
    what its formula needs.
    """
    minimum = loaded.aggregator.minimum()
    rules = rules.settled(minimum=minimum, seed=seed)
    least, clients = rules.round.min_updates or 1, rules.clients.min or 1
    most = rules.clients.max
    if rules.mode == "sync" and most is not None and most < least:
        raise ConfigError(
            f"clients.max = {most} is fewer than the {least} updates that a round needs (round.min_updates; "
            f"{loaded.name} needs {minimum}): no round would commit. Raise clients.max, or leave it out"
        )
    quorum = -int(-rules.round.quorum * clients // 1)
    if max(least, quorum) < minimum:
        raise ConfigError(
            f"{loaded.name} needs {minimum} updates, and round.min_updates = {least} with round.quorum = "
            f"{rules.round.quorum} of clients.min = {clients} allow {max(least, quorum)}. Raise one of the three"
        )
    return rules


def _check_model(span: Span) -> None:
    Model.open(span).reader.close()


async def _model(db: AsyncConnection, project: str, model: str) -> Any:
    wanted = (t.models.c.project == project, t.models.c.id == model)
    row = (await db.execute(select(t.models).where(*wanted))).one_or_none()
    if row is None:
        raise NotFound(f"there is no model {model} here: fedk model list shows them")
    return row


async def _free_name(db: AsyncConnection, project: str, stem: str) -> str:
    taken = set((await db.scalars(select(t.sessions.c.name).where(t.sessions.c.project == project))).all())
    return next(name for n in range(1, len(taken) + 2) if (name := f"{stem}-{n}") not in taken)


async def _check_name(db: AsyncConnection, project: str, name: str) -> None:
    wanted = (t.sessions.c.project == project, t.sessions.c.name == name)
    if (await db.scalar(select(t.sessions.c.id).where(*wanted))) is not None:
        raise Conflict(f"there is a session {name} already: choose another name, or leave it out")
