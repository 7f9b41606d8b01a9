"""Rows ↔ states. What a batch changed is found by comparing immutable objects, and written in one transaction."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Insert,
    Table,
    Update,
    bindparam,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.aggregation.intake import Place
from fedk.api.errors import StateError
from fedk.rounds.rules import Rules
from fedk.rounds.states import ENDED, End, Round, Session, Task
from fedk.state import tables as t
from fedk.state.prepared import prepared

Row = dict[str, Any]
Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What is said of a session's row, which must still have this version."""

    name: str
    row: Row
    version: int


@dataclass(slots=True)
class Writes:
    """The rows of one transaction, by table, so that each table costs one statement of each kind. Of what is said of a
    row more than once, the last counts.
    """

    count: int = 0  # words
    inserts: dict[Table, list[Row]] = field(default_factory=dict)
    replaces: dict[Table, dict[Key, Row]] = field(default_factory=dict)  # by primary key: delete, then insert
    updates: dict[Table, dict[Key, Row]] = field(default_factory=dict)  # by primary key
    sessions: dict[str, Change] = field(default_factory=dict)  # by id: names are unique within a project

    def insert(self, table: Table, row: Row) -> None:
        self.count += 1
        self.inserts.setdefault(table, []).append(row)

    def replace(self, table: Table, row: Row) -> None:
        self.count += 1
        self.replaces.setdefault(table, {})[_key(table, row)] = row

    def update(self, table: Table, row: Row) -> None:
        self.count += 1
        rows, key = self.updates.setdefault(table, {}), _key(table, row)
        rows[key] = {**rows[key], **row} if key in rows else row

    def session(self, name: str, row: Row, version: int) -> None:
        """Its row, which has this version; after an earlier word of this batch the one that it had before that."""
        before = self.sessions.get(row["id"], Change(name, {}, version))
        self.sessions[row["id"]] = Change(name, {**before.row, **row}, before.version)

    def empty(self) -> bool:
        """Whether a transaction would write nothing."""
        return not (self.count or self.sessions)

    def execute(self, tx: Connection) -> None:
        """Write them. StateError when a session's row is not the one that was read: another leader wrote it."""
        for one in self.sessions.values():
            names = frozenset(one.row)
            change = prepared(_change(t.sessions, names, versioned=True), tx.dialect, (), _changed(t.sessions, names))
            if change.run(tx, [{**one.row, "version": one.version}]) != 1:
                text = f"session {one.name} was changed by another server: its row is not at version {one.version}"
                raise StateError(text)
        for table, replaced in self.replaces.items():
            rows = list(replaced.values())
            prepared(_gone(table), tx.dialect, (), _keys(table)).run(tx, rows)
            prepared(_new(table), tx.dialect, tuple(rows[0])).run(tx, rows)
        for table, rows in self.inserts.items():
            prepared(_new(table), tx.dialect, tuple(rows[0])).run(tx, rows)
        for table, updated in self.updates.items():
            for columns, rows in _alike(updated.values()).items():
                names = frozenset(columns)
                prepared(_change(table, names), tx.dialect, (), _changed(table, names)).run(tx, rows)


def _alike(rows: Iterable[Row]) -> dict[tuple[str, ...], list[Row]]:
    """By the columns that they have."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row), []).append(row)
    return found


# Made once: building a statement takes as long as SQLite takes to run it.


@cache
def _new(table: Table) -> Insert:
    return insert(table)


@cache
def _gone(table: Table) -> Delete:
    return delete(table).where(*(c == bindparam(f"key_{c.name}") for c in table.primary_key.columns))


@cache
def _change(table: Table, names: frozenset[str], *, versioned: bool = False) -> Update:
    keys = [c for c in table.primary_key.columns if c.name in names]
    changed = sorted(names - {c.name for c in keys})
    change = update(table).where(*(c == bindparam(f"key_{c.name}") for c in keys))
    if versioned:
        change = change.where(table.c.v == bindparam("version"))
    return change.values({name: bindparam(f"to_{name}") for name in changed})


def _key(table: Table, row: Row) -> Key:
    return tuple([row[name] for _, name in _keys(table)])


@cache
def _keys(table: Table) -> tuple[tuple[str, str], ...]:
    """By parameter, where its value stands in a row."""
    return tuple((f"key_{c.name}", c.name) for c in table.primary_key.columns)


@cache
def _changed(table: Table, names: frozenset[str]) -> tuple[tuple[str, str], ...]:
    return *_keys(table), *((f"to_{name}", name) for name in names)


def places_row(places: Mapping[str, Place]) -> Row:
    """As a column `blobs` keeps them."""
    return {name: [place.offset, place.size, place.sha256.hex()] for name, place in places.items()}


def read_places(column: Mapping[str, Any]) -> dict[str, Place]:
    """What `places_row` wrote."""
    return {name: Place(at, size, bytes.fromhex(sha256)) for name, (at, size, sha256) in column.items()}


@dataclass(slots=True)
class Record:
    """What a session's row holds beside the machine's state."""

    project: str
    name: str
    first_model: bytes | None
    aggregator: str
    aggregator_version: str
    created_at: float
    v: int = 1
    warnings: tuple[str, ...] = ()
    head_model: str | None = None
    ended_at: float | None = None


def session_row(s: Session, record: Record) -> Row:
    """The row of table `sessions`."""
    return {
        "id": s.id,
        "project": record.project,
        "name": record.name,
        "first_model": record.first_model,
        "rules": s.rules.document,
        "rules_version": 1,
        "status": s.status,
        "why": s.why,
        "paused_by": s.paused_by,
        "closing": s.closing,
        "head_round": s.head,
        "head_model": record.head_model,
        "aggregator": record.aggregator,
        "aggregator_version": record.aggregator_version,
        "state_version": 1,
        "seed": s.rules.seed,
        "next_task": s.next_task,
        "folds": s.folds,
        "warnings": list(record.warnings),
        "created_at": record.created_at,
        "ended_at": record.ended_at,
        "v": record.v,
    }


def round_row(s: Session, r: Round, record: Record, extra: Mapping[str, Any]) -> Row:
    """The row of table `rounds`; `extra` is what only the runner knows: times and bytes."""
    return {
        "session": s.id,
        "no": r.no,
        "project": record.project,
        "base_model": record.head_model or "",
        "state": r.state,
        "attempt": r.attempt,
        "step": r.step,
        "target": r.target,
        "first_task": r.first_task,
        "armed": r.armed,
        "expired": r.expired,
        "why": "",
        **extra,
    }


def task_row(s: Session, task: Task, record: Record, now: float) -> Row:
    """The row of table `tasks` as it is when the task is new."""
    return {
        "id": task.id,
        "project": record.project,
        "session": s.id,
        "client": task.client,
        "number": task.number,
        "kind": task.kind,
        "asked_round": task.asked_round,
        "attempt": task.attempt,
        "step": task.step,
        "base": task.base,
        "queued_at": now,
        "sent_at": None,
        **task_changes(task, None, now),
    }


def task_changes(task: Task, old: Task | None, now: float) -> Row:
    """The columns of table `tasks` that change in a task's life."""
    end = task.end
    ended_now = end is not None and (old is None or old.end is None)
    return {
        "id": task.id,
        "state": task.state,
        "verdict": end.outcome if end else None,
        "reason": end.reason if end else "",
        "detail": end.detail if end else "",
        "verdict_at": now if ended_now else None,
    }


def tasks_changed(old: Session, new: Session) -> list[tuple[Task | None, Task]]:
    """(before, now) of each task that a batch made or changed."""
    before = old.tasks
    if before is new.tasks:
        return []
    return [(was, task) for i, task in new.tasks.items() if (was := before.get(i)) is not task]


def write_tasks(writes: Writes, changed: Iterable[tuple[Task | None, Task]], new: Session, record: Record) -> None:
    """The task rows of a batch."""
    now = time.time()
    for was, task in changed:
        if was is None:
            writes.insert(t.tasks, task_row(new, task, record, now))
            continue
        row = task_changes(task, was, now)
        if was.state == "queued" and task.state in ("sent", "accepted"):
            row["sent_at"] = now
        writes.update(t.tasks, row)


async def read_sessions(db: AsyncConnection) -> list[tuple[Session, Record]]:
    """Every session that has not ended for good, as its rows say; no client is present yet."""
    alive = t.sessions.c.status.not_in(("finished", "stopped"))
    rows = (await db.execute(select(t.sessions).where(alive).order_by(t.sessions.c.created_at))).all()
    return [(await _session(db, row), record_of(row)) for row in rows]


async def read_session(db: AsyncConnection, session: str) -> tuple[Session, Record] | None:
    """One session, as its rows say."""
    row = (await db.execute(select(t.sessions).where(t.sessions.c.id == session))).one_or_none()
    return (await _session(db, row), record_of(row)) if row is not None else None


def record_of(row: Any) -> Record:
    """What a session's row holds beside the machine's state."""
    return Record(
        project=row.project,
        name=row.name,
        first_model=row.first_model,
        aggregator=row.aggregator,
        aggregator_version=row.aggregator_version,
        created_at=row.created_at,
        v=row.v,
        warnings=tuple(row.warnings),
        head_model=row.head_model,
        ended_at=row.ended_at,
    )


async def _session(db: AsyncConnection, row: Any) -> Session:
    round_ = await _open_round(db, row)
    return Session(
        id=row.id,
        rules=Rules.written(row.rules),
        status=row.status,
        why=row.why,
        paused_by=row.paused_by,
        head=row.head_round,
        closing=row.closing,
        round=round_,
        tasks={} if row.status in ENDED else await _tasks(db, row, round_),
        next_task=row.next_task,
        folds=row.folds,
    )


async def _open_round(db: AsyncConnection, row: Any) -> Round | None:
    if row.status in ENDED:
        return None
    wanted = (t.rounds.c.session == row.id, t.rounds.c.state.in_(("open", "gathering", "folding")))
    r = (await db.execute(select(t.rounds).where(*wanted))).one_or_none()
    if r is None:
        return None
    frozen: tuple[str, ...] = ()
    if r.state == "folding":
        joined = t.tasks.join(t.results, t.tasks.c.id == t.results.c.task)
        of_round = (t.results.c.session == row.id, t.results.c.round == r.no, t.tasks.c.state == "accepted")
        frozen = tuple(
            (
                await db.scalars(select(t.tasks.c.id).select_from(joined).where(*of_round).order_by(t.tasks.c.number))
            ).all()
        )
    return Round(
        no=r.no,
        state=r.state,
        attempt=r.attempt,
        step=r.step,
        target=r.target,
        first_task=r.first_task,
        armed=r.armed,
        expired=r.expired,
        frozen=frozen,
        partials=frozenset((await db.scalars(select(t.partials.c.name).where(*_partials(row.id, r.no)))).all()),
    )


def _partials(session: str, no: int) -> tuple[ColumnElement[bool], ...]:
    return t.partials.c.session == session, t.partials.c.round == no


async def _tasks(db: AsyncConnection, row: Any, round_: Round | None) -> dict[str, Task]:
    since = round_.first_task if round_ else row.next_task
    wanted = t.tasks.c.state.in_(("queued", "sent", "accepted")) | (t.tasks.c.number >= since)
    query = (
        select(t.tasks, t.results.c.round, t.results.c.holder, t.results.c.result_id, t.results.c.partial)
        .select_from(t.tasks.outerjoin(t.results, t.tasks.c.id == t.results.c.task))
        .where(t.tasks.c.session == row.id, wanted)
        .order_by(t.tasks.c.number)
    )
    return {found.id: _task(found) for found in (await db.execute(query)).all()}


def _task(row: Any) -> Task:
    return Task(
        id=row.id,
        number=row.number,
        client=row.client,
        kind=row.kind,
        asked_round=row.asked_round,
        attempt=row.attempt,
        step=row.step,
        base=row.base,
        state=row.state,
        holder=(row.holder or "") if row.state != "sent" else "",  # a holder that was lost has nothing
        partial=(row.partial or "") if row.state != "sent" else "",
        round=row.round if row.state != "sent" else None,
        result_id=row.result_id or "",
        end=End(row.verdict, row.reason, row.detail) if row.verdict else None,
    )
