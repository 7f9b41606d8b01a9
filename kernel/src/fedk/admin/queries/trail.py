"""The model trail: each committed model with its parent, its contributors, and who was not in it and why."""

from collections import defaultdict
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.admin.page import Page
from fedk.admin.queries import metrics, models
from fedk.rounds import trail
from fedk.state import tables as t

Document = dict[str, Any]


async def links(db: AsyncConnection, session: str, page: Page) -> list[Document]:
    """The models after round `page.after`, with `broken`: "" or what is wrong with the link to its parent."""
    rows = (await db.execute(models.rows_of(session).where(t.models.c.round > page.after).limit(page.limit))).all()
    if not rows:
        return []
    first, last = rows[0].round, rows[-1].round
    updates, refusals = await _updates(db, [row.id for row in rows]), await _refusals(db, session, first, last)
    means = await metrics.means(db, session, first, last)
    before = await _before(db, session, first)
    found = []
    for row in rows:
        found.append(
            {
                **models.document(row),
                "updates": updates[row.id],
                "refusals": refusals[row.round],
                "metrics": {name: mean["value"] for name, mean in means.get(row.round, {}).items()},
                "broken": _broken(row, before),
            }
        )
        before = row
    return found


async def digest(db: AsyncConnection, model: Row[Any]) -> bytes | None:
    """The digest that the rows give for a model of a session; None where its parent's row is not there."""
    parent = b""
    if model.parent is not None:
        found = await db.scalar(select(t.models.c.digest).where(t.models.c.id == model.parent))
        if found is None:
            return None
        parent = found
    c = t.contributions.c
    shares = [
        trail.Share(row.client_name, row.update_sha256, row.weight)
        for row in await db.execute(select(c.client_name, c.update_sha256, c.weight).where(c.model == model.id))
    ]
    return trail.digest(parent=parent, model=model.sha256, config=model.config_hash, shares=shares)


def _broken(row: Row[Any], before: Row[Any] | None) -> str:
    if before is None:
        return (
            "" if row.round == 0 and row.parent is None else f"its parent, model {row.round - 1}, is not in the trail"
        )
    if (row.round, row.parent) != (before.round + 1, before.id):
        return f"its parent is {row.parent}, and the model before it in the trail is {before.id}"
    return ""


async def _before(db: AsyncConnection, session: str, first: int) -> Row[Any] | None:
    query = select(t.models).where(t.models.c.session == session, t.models.c.round == first - 1)
    return (await db.execute(query)).one_or_none()


async def _updates(db: AsyncConnection, ids: list[str]) -> dict[str, list[Document]]:
    query = select(t.contributions).where(t.contributions.c.model.in_(ids)).order_by(t.contributions.c.client_name)
    found: dict[str, list[Document]] = defaultdict(list)
    for row in await db.execute(query):
        found[row.model].append(
            {
                "client": row.client_name,
                "num_examples": row.num_examples,
                "weight": row.weight,
                "update_sha256": row.update_sha256.hex(),
                "via": row.via,
            }
        )
    return found


async def _refusals(db: AsyncConnection, session: str, first: int, last: int) -> dict[int, list[Document]]:
    r = t.rejections.c
    query = (
        select(t.rejections)
        .where(r.session == session, r.round.between(first, last))
        .order_by(r.round, r.at, r.client_name)
    )
    found: dict[int, list[Document]] = defaultdict(list)
    for row in await db.execute(query):
        found[row.round].append(
            {
                "client": row.client_name,
                "verdict": row.verdict,
                "reason": row.reason,
                "detail": row.detail,
                "at": row.at,
            }
        )
    return found
