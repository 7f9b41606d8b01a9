"""References: how people name things. A name, an id, `latest`, or a prefix that only one thing has."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.api.errors import Conflict, NotFound
from fedk.api.suggestion import did_you_mean

LATEST = "latest"
LISTED = 8
"""Choices that a message names."""
LONGEST = 100
"""Characters of a name or an id; what is longer names nothing, and is not looked for."""
_NEAR = 1000
"""Names, newest first, among which what was meant is looked for."""


async def find(
    db: AsyncConnection, table: Table, project: str, ref: str, *, newest: ColumnElement[Any], empty: str
) -> Row[Any]:
    """The row of a table with `id`, `name` and `project`. `empty` says what to do where there is none at all."""
    noun = table.name.removesuffix("s")
    if len(ref) > LONGEST:
        raise NotFound(f'no {noun} "{ref[:LONGEST]}…": a name has at most {LONGEST} characters')
    mine = select(table).where(table.c.project == project)
    exact = (await db.execute(mine.where((table.c.name == ref) | (table.c.id == ref)))).all()
    if exact:
        return min(exact, key=lambda row: row.name != ref)
    if ref == LATEST:
        row = (await db.execute(mine.order_by(newest.desc()).limit(1))).one_or_none()
        if row is None:
            raise NotFound(f'no {noun} in project "{project}" yet. {empty}')
        return row
    begins = table.c.name.startswith(ref, autoescape=True) | table.c.id.startswith(ref, autoescape=True)
    rows = (await db.execute(mine.where(begins).order_by(newest.desc()).limit(LISTED + 2))).all()
    rows = [row for row in rows if row.name.startswith(ref) or row.id.startswith(ref)]  # LIKE may ignore case
    if rows:
        return only(noun, ref, rows, [row.name for row in rows])
    names = (
        await db.scalars(select(table.c.name).where(table.c.project == project).order_by(newest.desc()).limit(_NEAR))
    ).all()
    raise NotFound(unknown(noun, ref, names, empty))


def only(noun: str, ref: str, rows: Sequence[Row[Any]], names: Sequence[str]) -> Row[Any]:
    """The one row of them; Conflict where there are more, listing their names."""
    if len(rows) == 1:
        return rows[0]
    raise Conflict(f'"{ref}" begins more than one {noun}: {listed(names)}. Give more of it')


def unknown(noun: str, ref: str, names: Sequence[str], empty: str) -> str:
    """The sentence for a reference that names nothing."""
    if not names:
        return f'no {noun} "{ref}": there is none yet. {empty}'
    return f'no {noun} "{ref}".{did_you_mean(ref, names)} There {"is" if len(names) == 1 else "are"}: {listed(names)}'


def listed(names: Iterable[str]) -> str:
    """Names for a sentence, cut where they get many."""
    every = list(names)
    return ", ".join(every[:LISTED]) + (" …" if len(every) > LISTED else "")
