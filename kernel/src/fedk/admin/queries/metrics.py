"""Metrics: what clients reported, and its means weighted by num_examples."""

from typing import Any

from sqlalchemy import Float, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.admin.page import Page
from fedk.rounds.live import SHOWN
from fedk.state import tables as t

Means = dict[int, dict[str, dict[str, Any]]]
"""By round and name: value, clients, num_examples."""


async def means(db: AsyncConnection, session: str, first: int, last: int) -> Means:
    """The means of models `first` to `last`."""
    m = t.metrics.c
    weight = func.sum(m.num_examples)
    value = func.sum(m.value * m.num_examples) / cast(weight, Float)
    query = (
        select(m.round, m.name, value, func.count(m.client.distinct()), weight)
        .where(m.session == session, m.round.between(first, last), m.num_examples > 0)
        .group_by(m.round, m.name)
        .order_by(m.round, m.name)
    )
    found: Means = {}
    for no, name, mean, clients, examples in await db.execute(query):
        found.setdefault(no, {})[name] = {"value": mean, "clients": clients, "num_examples": int(examples)}
    return found


async def paged(db: AsyncConnection, session: str, page: Page) -> Means:
    """The means of the models after `page.after`."""
    return await means(db, session, page.after + 1, page.after + page.limit)


async def newest(db: AsyncConnection, session: str) -> dict[str, Any] | None:
    """Means of the newest model that was measured, else of the newest that was trained."""
    m = t.metrics.c
    last = select(func.max(m.round)).where(m.session == session)
    no = await db.scalar(last.where(m.kind.not_in(("train", SHOWN))))
    if not no:
        no = await db.scalar(last)
    if no is None:
        return None
    found = (await means(db, session, no, no))[no]
    return {"round": no, "values": {name: mean["value"] for name, mean in found.items()}}


async def by_client(db: AsyncConnection, session: str, no: int) -> list[dict[str, Any]]:
    """Every value that clients reported of model `no`."""
    m = t.metrics.c
    query = (
        select(m.name, m.kind, m.value, m.num_examples, m.at, t.clients.c.name.label("client"))
        .select_from(t.metrics.join(t.clients, m.client == t.clients.c.id))
        .where(m.session == session, m.round == no)
        .order_by(m.name, t.clients.c.name, m.at)
    )
    return [dict(row._mapping) for row in await db.execute(query)]
