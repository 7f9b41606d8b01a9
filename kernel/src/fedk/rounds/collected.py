"""Collected models: their bytes are gone by `models.keep`. Their rows stay: hash, digest, who is in them."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Row, case, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.api.errors import Collected
from fedk.rounds.rules import KeepModels
from fedk.state import tables as t

_RANGES = 6
"""Of rounds, that a message names; the newest."""

STORED: ColumnElement[bool] = exists().where(
    t.blobs.c.project == t.models.c.project, t.blobs.c.sha256 == t.models.c.sha256, t.blobs.c.state == "live"
)
"""Of a row of `models`: its bytes are there, for this model's sake or for that of an equal one."""

RULE: ColumnElement[str | None] = case((STORED, None), else_=t.sessions.c.rules["models"]["keep"].as_string())
"""Of a row of `models` joined with `sessions`: what has dropped its bytes; null where they are there."""


def by(rule: str | None) -> str:
    """The words for a row's RULE; "" where its bytes are there."""
    if rule is None:
        return ""
    if rule == KeepModels().keep:
        return "by an earlier models.keep of its session"
    return f'by models.keep = "{rule}"'


async def check(db: AsyncConnection, model: Row[Any]) -> None:
    """Collected where the bytes of this row of `models` are gone by rule; it says which are there."""
    joined = t.models.join(t.sessions, t.models.c.session == t.sessions.c.id)
    query = select(t.sessions.c.name, t.sessions.c.id, RULE.label("rule")).select_from(joined)
    found = (await db.execute(query.where(t.models.c.id == model.id))).one_or_none()
    if found is None or found.rule is None:
        return
    rounds = select(t.models.c.round).where(t.models.c.session == found.id, STORED).order_by(t.models.c.round)
    there = _ranges(found.name, (await db.scalars(rounds)).all())
    raise Collected(
        f"the bytes of {found.name}/{model.round} were collected {by(found.rule)}: its row, hash and digest stay, "
        f"the model is gone. Those of {there} are there"
    )


def _ranges(session: str, rounds: Iterable[int]) -> str:
    found: list[tuple[int, int]] = []
    for no in rounds:
        if found and found[-1][1] == no - 1:
            found[-1] = found[-1][0], no
        else:
            found.append((no, no))
    words = [f"{session}/{a}" if a == b else f"{session}/{a} … {session}/{b}" for a, b in found[-_RANGES:]]
    return ("… " if len(found) > _RANGES else "") + ", ".join(words)
