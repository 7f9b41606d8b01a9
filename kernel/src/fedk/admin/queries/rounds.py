"""Rounds: one step from a model to the next, and who had which part in it."""

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.admin.page import Page
from fedk.admin.queries import metrics
from fedk.rounds.live import SHOWN
from fedk.rounds.states import ENDINGS
from fedk.state import tables as t

Document = dict[str, Any]
_ENDED_WITH_SESSION = ("session-failed", "session-stopped")


async def listed(db: AsyncConnection, session: str, page: Page) -> list[Document]:
    """The rounds after `page.after`, with what the table of a run shows."""
    of_session = (t.rounds.c.session == session, t.rounds.c.no > page.after)
    rows = (await db.execute(select(t.rounds).where(*of_session).order_by(t.rounds.c.no).limit(page.limit))).all()
    if not rows:
        return []
    between = rows[0].no, rows[-1].no
    means = await metrics.means(db, session, *between)
    models = await _models(db, session, *between)
    ends = await _ends(db, session, *between)
    return [_document(row, models.get(row.no), ends.get(row.no, {}), means.get(row.no, {})) for row in rows]


def _document(row: Row[Any], model: Row[Any] | None, ends: Mapping[str, int], means: Mapping[str, Any]) -> Document:
    return {
        "round": row.no,
        "state": row.state,
        "attempt": row.attempt + 1,
        "target": row.target,
        "updates": model.updates if model is not None else None,
        "examples": model.examples if model is not None else None,
        "metrics": {name: mean["value"] for name, mean in means.items()},
        "measured": max(
            (m["clients"] for name, m in means.items() if not name.startswith(("train.", f"{SHOWN}."))), default=0
        ),
        **ends,
        "opened_at": row.opened_at,
        "closed_at": row.closed_at,
        "seconds": round(row.closed_at - row.opened_at, 6) if row.closed_at is not None else None,
        "sent": row.sent_bytes,
        "received": row.received_bytes,
        "model": model.id if model is not None else None,
        "sha256": model.sha256.hex() if model is not None else None,
        "why": row.why,
    }


async def _models(db: AsyncConnection, session: str, first: int, last: int) -> dict[int, Row[Any]]:
    joined = t.models.outerjoin(t.contributions, t.contributions.c.model == t.models.c.id)
    count, examples = func.count(t.contributions.c.task), func.coalesce(func.sum(t.contributions.c.num_examples), 0)
    query = (
        select(t.models.c.id, t.models.c.round, t.models.c.sha256, count.label("updates"), examples.label("examples"))
        .select_from(joined)
        .where(t.models.c.session == session, t.models.c.round.between(first, last))
        .group_by(t.models.c.id, t.models.c.round, t.models.c.sha256)
    )
    return {row.round: row for row in await db.execute(query)}


async def _ends(db: AsyncConnection, session: str, first: int, last: int) -> dict[int, dict[str, int]]:
    """By round: answers refused (the client's fault), tasks failed and lost."""
    r = t.rejections.c
    query = (
        select(r.round, r.verdict, func.count())
        .where(r.session == session, r.round.between(first, last), r.reason.not_in(ENDINGS - {"lost"}))
        .group_by(r.round, r.verdict)
    )
    found: dict[int, dict[str, int]] = {no: {} for no in range(first, last + 1)}
    for no, verdict, count in await db.execute(query):
        found[no]["refused" if verdict == "rejected" else verdict] = count
    return {no: {kind: ends.get(kind, 0) for kind in ("refused", "failed", "lost")} for no, ends in found.items()}


async def newest(db: AsyncConnection, session: Row[Any]) -> Document | None:
    """The newest round with the word of each client; None before the first."""
    mine = select(t.rounds).where(t.rounds.c.session == session.id)
    row = (await db.execute(mine.order_by(t.rounds.c.no.desc()).limit(1))).one_or_none()
    if row is None:
        return None
    clients = await _clients(db, row)
    return {
        "round": row.no,
        "state": row.state,
        "attempt": row.attempt + 1,
        "attempts": session.rules["round"]["retries"] + 1,
        "target": row.target,
        "accepted": sum(one["outcome"] in ("accepted", "committed") for one in clients),
        "opened_at": row.opened_at,
        "closed_at": row.closed_at,
        "remaining": _remaining(row, session.rules["round"]["deadline"]),
        "why": row.why,
        "clients": clients,
    }


def _remaining(row: Row[Any], deadline: float) -> float | None:
    """Seconds until the deadline, which is never further away than its whole; None while no clock runs."""
    left: float | None = row.remaining_s
    if row.closed_at is not None:
        return None
    if left is None and row.deadline_at is not None:
        return min(max(0.0, float(row.deadline_at) - time.time()), deadline)
    return left


async def _clients(db: AsyncConnection, row: Row[Any]) -> list[Document]:
    """Each client's last word in this opening of the round, and how often it came."""
    joined = t.tasks.join(t.clients, t.tasks.c.client == t.clients.c.id).outerjoin(
        t.results, t.results.c.task == t.tasks.c.id
    )
    query = (
        select(t.tasks, t.clients.c.name, t.results.c.result_id)
        .select_from(joined)
        .where(t.tasks.c.session == row.session, t.tasks.c.asked_round == row.no)
        .where(t.tasks.c.number >= row.first_task, t.tasks.c.kind != "validate")
        .order_by(t.clients.c.name, t.tasks.c.number)
    )
    words: dict[str, Document] = {}
    for task in await db.execute(query):
        words[task.name] = _word(task, words.get(task.name))
    return list(words.values())


def _word(task: Row[Any], before: Document | None) -> Document:
    outcome = _outcome(task)
    again = before is not None and before["outcome"] == outcome
    return {
        "client": task.name,
        "outcome": outcome,  # asked | accepted | committed | rejected | failed | lost | cancelled
        "reason": "" if outcome == "accepted" else task.reason,
        "detail": "" if outcome == "accepted" else task.detail,
        "times": before["times"] + 1 if before is not None and again else 1,
        "sent_at": task.sent_at,
    }


def _outcome(task: Row[Any]) -> str:
    if task.state == "accepted" or (task.reason in _ENDED_WITH_SESSION and task.result_id is not None):
        return "accepted"
    return task.verdict or "asked"
