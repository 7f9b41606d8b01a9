"""Combiners: who there is, what they hold, and for whom."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.api.errors import NotFound
from fedk.api.suggestion import did_you_mean
from fedk.state import tables as t

Document = dict[str, Any]
Live = Mapping[str, Document]
"""By name: load, held_bytes, fold_seconds, and who is below, which only a running server knows."""

EMPTY = "One joins with: FEDK_SERVER__ROLE=combiner FEDK_SERVER__PARENT='[\"HOST:PORT\"]' fedk server"


async def listed(db: AsyncConnection, live: Live) -> list[Document]:
    """All combiners by name, each followed by those below it. Without a server nobody is there, whatever the rows say."""
    rows = (await db.execute(select(t.combiners).order_by(t.combiners.c.name))).all()
    clients, held, found = await _clients(db), await _held(db), list[Document]()
    for row in rows:
        found.append(_document(row, clients, held, live))
        found.extend(_below(branch, row.last_seen) for branch in live.get(row.name, {}).get("below", ()))
    return found


async def detail(db: AsyncConnection, name: str, live: Live) -> Document:
    """One combiner, with its clients and those of combiners below it; of one that is itself below another the names of
    its clients are not known here.
    """
    everybody = await listed(db, live)
    found = next((one for one in everybody if one["name"] == name), None)
    if found is None:
        known = [one["name"] for one in everybody]
        hint = did_you_mean(name, known) or (f"Combiners: {', '.join(known)}" if known else EMPTY)
        raise NotFound(f'there is no combiner "{name}". {hint}')
    c = t.clients.c
    names = await db.scalars(select(c.name).where(c.holder == found["id"], c.state == "connected").order_by(c.name))
    return {**found, "members": list(names.all()) if not found["parent"] else None}


def _below(branch: Document, seen: float) -> Document:
    id_ = f"{branch['name']}.{branch['generation']}"
    return {**{key: value for key, value in branch.items() if key != "generation"}, "id": id_, "last_seen": seen}


def _document(row: Row[Any], clients: Mapping[str, int], held: Mapping[str, tuple[int, int]], live: Live) -> Document:
    now, holder = live.get(row.name, {}), _holder(row)
    results, size = held.get(holder, (0, 0))
    return {
        "name": row.name,
        "id": holder,
        "parent": "",  # this server; else the name of the combiner that it is below
        "state": row.state if now else "lost",
        "clients": clients.get(holder, 0) if now else 0,
        "capacity": row.capacity,
        "held": results,  # accepted updates whose bytes are there
        "held_bytes": size,
        "load": now.get("load"),
        "fold_seconds": now.get("fold_seconds"),
        "advertise": row.advertise,
        "attributes": row.attributes,
        "last_seen": row.last_seen,
    }


def _holder(row: Row[Any]) -> str:
    return f"{row.name}.{row.generation}"


async def _clients(db: AsyncConnection) -> dict[str, int]:
    c = t.clients.c
    query = select(c.holder, func.count()).where(c.state == "connected").group_by(c.holder)
    return {holder: count for holder, count in (await db.execute(query)).all()}  # noqa: C416  # rows, not tuples


async def _held(db: AsyncConnection) -> dict[str, tuple[int, int]]:
    r = t.results.c
    query = (
        select(r.holder, func.count(), func.sum(r.bytes))
        .select_from(t.results.join(t.tasks, r.task == t.tasks.c.id))
        .where(t.tasks.c.state == "accepted")
        .group_by(r.holder)
    )
    return {holder: (count, int(size or 0)) for holder, count, size in (await db.execute(query)).all()}
