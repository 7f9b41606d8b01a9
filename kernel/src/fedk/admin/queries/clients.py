"""Clients: who there is, what they did."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.admin.queries import reference
from fedk.rounds.rules import Clients
from fedk.rounds.states import ENDED, ENDINGS
from fedk.state import tables as t

EMPTY = "One joins with: fedk-client run APP --server HOST:PORT --name NAME"
Document = dict[str, Any]


async def find(db: AsyncConnection, project: str, ref: str) -> Row[Any]:
    """The row of the client that `ref` names."""
    return await reference.find(db, t.clients, project, ref, newest=t.clients.c.last_seen, empty=EMPTY)


async def listed(db: AsyncConnection, project: str, *, served: bool) -> list[Document]:
    """All clients by name. Without a server (`served`) nobody is connected, whatever the rows say."""
    rows = (await db.execute(select(t.clients).where(t.clients.c.project == project).order_by(t.clients.c.name))).all()
    known = await _known(db, project, served=served)
    return [_document(row, known) for row in rows]


async def detail(db: AsyncConnection, client: Row[Any], *, served: bool) -> Document:
    """One client, with how its last tasks ended."""
    known = await _known(db, client.project, client.id, served=served)
    return {**_document(client, known), "tasks": await _tasks(db, client.id)}


@dataclass(frozen=True, slots=True)
class _Known:
    """What other tables say of clients, by id."""

    served: bool
    grace: float
    counts: Mapping[str, Mapping[str, int]]
    examples: Mapping[str, int]
    doing: Mapping[str, list[Document]]


async def _known(db: AsyncConnection, project: str, client: str | None = None, *, served: bool) -> _Known:
    counts, examples = await _counts(db, project, client), await _examples(db, project, client)
    return _Known(served, await _grace(db, project), counts, examples, await _doing(db, project) if served else {})


def _document(row: Row[Any], known: _Known) -> Document:
    state = row.state if known.served or row.state != "connected" else "lost"
    left, counts = row.last_seen + known.grace - time.time(), known.counts.get(row.id, {})
    return {
        "id": row.id,
        "name": row.name,
        "project": row.project,
        "state": state,
        "present_for": round(left, 3) if known.served and state == "lost" and left > 0 else None,  # seconds more
        "last_seen": row.last_seen,
        "examples": known.examples.get(row.id),  # in its newest committed update
        "accepted": counts.get("accepted", 0),
        "refused": counts.get("refused", 0),
        "failed": counts.get("failed", 0),
        "attributes": row.attributes,
        "capabilities": row.capabilities,
        "software": row.software,
        "instance": row.instance,
        "generation": row.generation,
        "doing": known.doing.get(row.id, []),
    }


def _of(project: str, client: str | None, *columns: Any) -> Select[Any]:
    query = select(*columns).where(t.tasks.c.project == project)
    return query if client is None else query.where(t.tasks.c.client == client)


async def _counts(db: AsyncConnection, project: str, client: str | None = None) -> dict[str, dict[str, int]]:
    """By client: updates accepted (committed, or on their way into a model), refused, failed."""
    task = t.tasks.c
    query = (
        _of(project, client, task.client, task.state, task.verdict, func.count())
        .where(task.kind != "validate", task.reason.not_in(ENDINGS))
        .group_by(task.client, task.state, task.verdict)
    )
    found: dict[str, dict[str, int]] = {}
    words = {"committed": "accepted", "recorded": "accepted", "rejected": "refused", "failed": "failed"}
    for id_, state, verdict, count in await db.execute(query):
        word = "accepted" if state == "accepted" else words.get(verdict)
        if word is not None:
            mine = found.setdefault(id_, {})
            mine[word] = mine.get(word, 0) + count
    return found


async def _examples(db: AsyncConnection, project: str, client: str | None = None) -> dict[str, int]:
    """By client: num_examples of its newest committed update."""
    task = t.tasks.c
    newest = (
        _of(project, client, task.client, func.max(task.verdict_at).label("at"))
        .where(task.verdict == "committed")
        .group_by(task.client)
        .subquery()
    )
    joined = t.tasks.join(newest, (task.client == newest.c.client) & (task.verdict_at == newest.c.at)).join(
        t.contributions, t.contributions.c.task == task.id
    )
    query = (
        select(task.client, func.max(t.contributions.c.num_examples).label("examples"))
        .select_from(joined)
        .group_by(task.client)
    )
    return {row.client: row.examples for row in await db.execute(query)}


async def _grace(db: AsyncConnection, project: str) -> float:
    """Seconds for which some running session counts a lost client as present."""
    running = select(t.sessions.c.rules).where(t.sessions.c.project == project, t.sessions.c.status == "running")
    graces = [float(rules["clients"]["grace"]) for rules in await db.scalars(running)]
    return max(graces, default=Clients().grace)


async def _doing(db: AsyncConnection, project: str) -> dict[str, list[Document]]:
    """By client: the tasks that it was asked and has not answered."""
    task, session = t.tasks.c, t.sessions.c
    query = (
        select(t.tasks, session.name.label("session_name"))
        .select_from(t.sessions.join(t.tasks, task.session == session.id))
        .where(session.project == project, session.status.not_in(ENDED), task.state.in_(("queued", "sent")))
        .order_by(task.queued_at)
    )
    found: dict[str, list[Document]] = {}
    for row in await db.execute(query):
        seconds = round(max(0.0, time.time() - row.sent_at), 3) if row.sent_at is not None else None
        work = {"task": row.id, "kind": row.kind, "session": row.session_name, "round": row.asked_round}
        found.setdefault(row.client, []).append({**work, "state": row.state, "seconds": seconds})
    return found


async def _tasks(db: AsyncConnection, client: str) -> list[Document]:
    """The last ten, newest first."""
    task = t.tasks.c
    query = (
        select(t.tasks, t.sessions.c.name.label("session_name"))
        .select_from(t.tasks.join(t.sessions, task.session == t.sessions.c.id))
        .where(task.client == client)
        .order_by(task.queued_at.desc(), task.number.desc())
        .limit(10)
    )
    return [
        {
            "task": row.id,
            "kind": row.kind,
            "session": row.session_name,
            "round": row.asked_round,
            "state": row.state,
            "verdict": row.verdict,
            "reason": row.reason,
            "detail": row.detail,
            "queued_at": row.queued_at,
            "verdict_at": row.verdict_at,
        }
        for row in await db.execute(query)
    ]
