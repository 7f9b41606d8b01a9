"""Sessions: where each stands."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.admin.queries import metrics, reference, rounds
from fedk.state import tables as t

EMPTY = "Begin one: fedk session start FILE"
Document = dict[str, Any]


async def find(db: AsyncConnection, project: str, ref: str) -> Row[Any]:
    """The row of the session that `ref` names."""
    return await reference.find(db, t.sessions, project, ref, newest=t.sessions.c.created_at, empty=EMPTY)


async def listed(db: AsyncConnection, project: str) -> list[Document]:
    """All sessions, newest first."""
    mine = _with_round().where(t.sessions.c.project == project)
    rows = await db.execute(mine.order_by(t.sessions.c.created_at.desc(), t.sessions.c.name))
    return [summary(row, row.round) for row in rows]


async def detail(db: AsyncConnection, session: str) -> Document:
    """One session whole: rules, the newest round with its clients, and the event that this is as of."""
    row = (await db.execute(_with_round().where(t.sessions.c.id == session))).one()
    return {
        **summary(row, row.round),
        "rules": row.rules,
        "rules_version": row.rules_version,
        "current": await rounds.newest(db, row),
        "metrics": await metrics.newest(db, session),
        "seq": await newest_event(db),
    }


async def newest_event(db: AsyncConnection) -> int:
    """Number of the last event that is written."""
    return await db.scalar(select(func.max(t.events.c.seq))) or 0


def summary(row: Row[Any], round_: int | None) -> Document:
    """What a line of a list says."""
    return {
        "id": row.id,
        "name": row.name,
        "project": row.project,
        "status": row.status,
        "why": row.why,
        "paused_by": row.paused_by,
        "round": round_,
        "rounds": row.rules["rounds"],
        "head": head(row),
        "aggregator": row.aggregator,
        "aggregator_version": row.aggregator_version,
        "warnings": row.warnings,
        "created_at": row.created_at,
        "ended_at": row.ended_at,
    }


def head(row: Row[Any]) -> Mapping[str, Any] | None:
    """The newest model; None before there is one."""
    if row.head_model is None:
        return None
    return {"id": row.head_model, "round": row.head_round, "ref": f"{row.name}/{row.head_round}"}


def _with_round() -> Select[Any]:
    newest = select(func.max(t.rounds.c.no)).where(t.rounds.c.session == t.sessions.c.id).scalar_subquery()
    return select(t.sessions, newest.label("round"))
