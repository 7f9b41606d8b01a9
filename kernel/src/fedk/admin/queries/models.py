"""Models: committed ones by session and round, and those that a person put."""

import re
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.admin.queries import reference, sessions
from fedk.api.errors import NotFound
from fedk.rounds import collected
from fedk.state import tables as t

EMPTY = "A session makes some; or put one: fedk model put FILE"
_HEX = re.compile(r"[0-9a-f]{1,64}")
Document = dict[str, Any]


async def find(db: AsyncConnection, project: str, ref: str) -> Row[Any]:
    """The row of a model, with `session_name`: by id, SESSION/ROUND, SESSION (its newest), hash or prefix."""
    row = await _one(db, _mine(project).where(t.models.c.id == ref))
    if row is not None:
        return row
    if ref == reference.LATEST:
        return await _latest(db, project)
    session, slash, round_ = ref.rpartition("/")
    if slash or len(ref) > reference.LONGEST:
        return await _of_round(db, project, session or ref, round_)
    rows = (await db.execute(_mine(project).where(_begins(ref)).limit(reference.LISTED + 2))).all()
    if rows:
        return reference.only("model", ref, rows, [name(row) for row in rows])
    return await _newest(db, await _session(db, project, ref))


async def listed(db: AsyncConnection, project: str, session: str | None, limit: int) -> list[Document]:
    """The newest models first, of all sessions or of one."""
    query = _mine(project).order_by(t.models.c.committed_at.desc(), t.models.c.round.desc()).limit(limit)
    if session is not None:
        query = query.where(t.models.c.session == (await sessions.find(db, project, session)).id)
    return [document(row) for row in await db.execute(query)]


def document(row: Row[Any]) -> Document:
    """What is known of a model without its bytes."""
    return {
        "id": row.id,
        "ref": name(row),
        "session": row.session_name,
        "round": row.round,
        "parent": row.parent,
        "sha256": row.sha256.hex(),
        "bytes": row.bytes,
        "digest": row.digest.hex(),
        "aggregator": row.aggregator,
        "aggregator_version": row.aggregator_version,
        "collected": collected.by(row.collected),
        "seconds": row.seconds,
        "committed_at": row.committed_at,
    }


def name(row: Row[Any]) -> str:
    """SESSION/ROUND, or the id of a model that is in no trail."""
    return f"{row.session_name}/{row.round}" if row.session_name is not None else str(row.id)


def rows_of(session: str) -> Select[Any]:
    """The models of one session in their order."""
    return _named().where(t.models.c.session == session).order_by(t.models.c.round)


def _named() -> Select[Any]:
    joined = t.models.outerjoin(t.sessions, t.models.c.session == t.sessions.c.id)
    rule = collected.RULE.label("collected")
    return select(t.models, t.sessions.c.name.label("session_name"), rule).select_from(joined)


def _mine(project: str) -> Select[Any]:
    return _named().where(t.models.c.project == project)


def _begins(ref: str) -> ColumnElement[bool]:
    """Of the id, or of the hash in hex."""
    by_id = t.models.c.id.startswith(ref, autoescape=True)
    if not _HEX.fullmatch(ref):
        return by_id
    low, high = (bytes.fromhex(ref.ljust(64, digit)) for digit in "0f")
    return by_id | t.models.c.sha256.between(low, high)


async def _one(db: AsyncConnection, query: Select[Any]) -> Row[Any] | None:
    row: Row[Any] | None = (await db.execute(query)).one_or_none()
    return row


async def _latest(db: AsyncConnection, project: str) -> Row[Any]:
    newest = _mine(project).order_by(t.models.c.committed_at.desc(), t.models.c.round.desc()).limit(1)
    row = await _one(db, newest)
    if row is None:
        raise NotFound(f'no model in project "{project}" yet. {EMPTY}')
    return row


async def _of_round(db: AsyncConnection, project: str, session: str, round_: str) -> Row[Any]:
    found = await sessions.find(db, project, session)
    if round_ == reference.LATEST:
        return await _newest(db, found)
    if round_.isascii() and round_.isdigit() and len(round_) < 10:  # noqa: PLR2004  # what an integer column holds
        row = await _one(db, rows_of(found.id).where(t.models.c.round == int(round_)))
        if row is not None:
            return row
    raise NotFound(f'no model "{found.name}/{round_}". {await _range(db, found)}')


async def _newest(db: AsyncConnection, session: Row[Any]) -> Row[Any]:
    newest = rows_of(session.id).order_by(None).order_by(t.models.c.round.desc()).limit(1)
    row = await _one(db, newest)
    if row is None:
        raise NotFound(f"session {session.name} has no model yet: it is {session.status}")
    return row


async def _range(db: AsyncConnection, session: Row[Any]) -> str:
    m = t.models.c
    ends = select(func.min(m.round), func.max(m.round)).where(m.session == session.id)
    first, last = (await db.execute(ends)).one()
    if first is None:
        return f"It has none yet: it is {session.status}"
    return f"It has {session.name}/{first}" + (f" … {session.name}/{last}" if last != first else "")


async def _session(db: AsyncConnection, project: str, ref: str) -> Row[Any]:
    try:
        return await sessions.find(db, project, ref)
    except NotFound as error:
        raise NotFound(f'no model "{ref}": neither an id, a hash nor a session. {error}') from error
