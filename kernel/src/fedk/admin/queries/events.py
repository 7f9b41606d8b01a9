"""The event log, from some number on."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.rounds.feed import Published
from fedk.state import tables as t

BATCH = 500
"""Events that are in memory at once while the log is replayed."""


async def after(db: AsyncConnection, project: str, session: str | None, seq: int) -> list[Published]:
    """The next events, at most BATCH."""
    e = t.events.c
    query = select(t.events).where(e.project == project, e.seq > seq).order_by(e.seq).limit(BATCH)
    if session is not None:
        query = query.where(e.session == session)
    return [_published(row) for row in await db.execute(query)]


async def before_rounds(db: AsyncConnection, session: str, count: int) -> int:
    """The number after which the session's last `count` rounds were opened; 0 where it has no more than these."""
    e = t.events.c
    opened = select(e.seq).where(e.session == session, e.type == "round.open").order_by(e.seq.desc())
    seq = await db.scalar(opened.offset(count - 1).limit(1))
    return seq - 1 if seq is not None else 0


def _published(row: Any) -> Published:
    return Published(row.seq, row.project, row.session, row.type, row.body, row.at)
