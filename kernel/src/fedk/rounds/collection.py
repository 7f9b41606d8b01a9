"""Collection: bytes that no row needs any more are deleted, behind the rounds: one blob at a time, never in their way.

A blob goes in three steps, each of which may be the last before a crash. Its row is marked `deleting` in a transaction
that sees no reference; its bytes are deleted, unless a writer holds them; its row is deleted, unless a writer has made it
live again. The next start goes on with the rows that are `deleting`.
"""

import asyncio
import logging
from collections.abc import Iterable

from sqlalchemy import ColumnElement, Table, bindparam, delete, exists, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.api.errors import FedkError
from fedk.blobs.hold import Key
from fedk.blobs.store import Blobs
from fedk.rounds import retention
from fedk.rounds.ledger import Row
from fedk.state import tables as t
from fedk.state.store import Store

AT_ONCE = 500
"""References that one transaction drops: others wait for it."""

log = logging.getLogger("fedk.blobs")


class Collection:
    """Of this server. `look` says where something may have become needless."""

    def __init__(self, store: Store, blobs: Blobs) -> None:
        self._store, self._blobs = store, blobs
        self._sessions: dict[str, None] = {}  # to look at, in the order of asking
        self._marked: dict[Key, None] = {}  # rows that are `deleting`
        self._working: asyncio.Task[None] | None = None
        self._closed = self._recovered = False

    def look(self, *sessions: str) -> None:
        """These have a new model, or have ended. Returns at once."""
        self._sessions.update(dict.fromkeys(sessions))
        if not self._closed and (self._working is None or self._working.done()):
            self._working = asyncio.create_task(self._work())

    async def idle(self) -> None:
        """Returns once all that was asked for is done."""
        while self._working is not None and not self._working.done():
            await asyncio.shield(self._working)

    async def close(self) -> None:
        """The blob that is being deleted is the last."""
        self._closed = True
        await self.idle()

    async def _work(self) -> None:
        """Storage or database fail: it is said, and tried again with the next commit, or the next start."""
        try:
            if not self._recovered:
                await self.recover()
            while True:
                for session in list(self._sessions):
                    if not self._closed:
                        await self._look(session)
                await self._sweep()  # after all of them: a blob that cannot be deleted stops nobody's
                if self._closed or not self._sessions:
                    return
        except (FedkError, SQLAlchemyError, OSError) as error:
            log.warning("collection.failed error=%s", error)

    async def _look(self, session: str) -> None:
        """A word of this session that comes meanwhile is about a later commit, and stays."""
        del self._sessions[session]
        more = True
        try:
            more = await self.mark(session)
        finally:
            if more:
                self._sessions[session] = None

    async def _sweep(self) -> None:
        for key in list(self._marked):
            if self._closed:
                return
            await self.collect(key)

    # ---- the steps ----

    async def recover(self) -> None:
        """What a server before this one began: rows that are `deleting`, and bytes that it sealed and never named."""
        async with self._store.reading() as db:
            marked = select(t.blobs.c.project, t.blobs.c.sha256).where(t.blobs.c.state == "deleting")
            self._marked.update({(row.project, row.sha256): None for row in await db.execute(marked)})
            sessions = (await db.scalars(select(t.sessions.c.id).order_by(t.sessions.c.created_at))).all()
        for note, key in (await self._blobs.leftovers()).items():
            if await self._unnamed(key):
                await self._blobs.looked_after(note)
        self._sessions.update(dict.fromkeys(sessions))  # the end of a session may have been the last word
        self._recovered = True

    async def _unnamed(self, key: Key) -> bool:
        """Erase it if no row names it; False while somebody is writing it."""
        if not self._blobs.leave(*key):
            return False
        async with self._store.reading() as db:
            named = await db.scalar(select(t.blobs.c.state).where(*_is(key)))
        return named is not None or await self._blobs.erase(*key)

    async def mark(self, session: str) -> bool:
        """Drop the references of a session that its rules do not keep; whether there may be more."""
        async with self._store.reading() as db:
            found = await _unneeded(db, session)
        if not found:
            return False
        async with self._store.transaction() as tx:
            found = await _unneeded(tx, session)
            await _drop(tx, found)
            marked = await _mark(tx, dict.fromkeys((row["project"], row["sha256"]) for row in found))
        self._marked.update(dict.fromkeys(marked))
        return len(found) == AT_ONCE

    async def collect(self, key: Key) -> None:
        """Bytes, then the row. A blob that is held stays `deleting`: its writer makes it live, or it goes later."""
        if not self._blobs.leave(*key):
            return
        async with self._store.reading() as db:
            state = await db.scalar(select(t.blobs.c.state).where(*_is(key)))
        if state == "deleting":
            if not await self._blobs.erase(*key):
                return
            async with self._store.transaction() as tx:
                await tx.execute(delete(t.blobs).where(*_is(key), t.blobs.c.state == "deleting"))
            log.debug("blob.collected project=%s sha256=%s", key[0], key[1].hex())
        self._marked.pop(key, None)


async def _unneeded(db: AsyncConnection, session: str) -> list[Row]:
    kept = await retention.read(db, session)
    if kept is None:
        return []
    return [dict(row._mapping) for row in await db.execute(retention.references(session, kept, AT_ONCE))]


async def _drop(tx: AsyncConnection, references: Iterable[Row]) -> None:
    keys = list(t.blob_refs.primary_key.columns)
    gone = delete(t.blob_refs).where(*(c == bindparam(f"key_{c.name}") for c in keys))
    rows = [{f"key_{c.name}": row[c.name] for c in keys} for row in references]
    if rows:
        await tx.execute(gone, rows)


async def _mark(tx: AsyncConnection, keys: Iterable[Key]) -> list[Key]:
    """Those of `keys` that nothing refers to; they are `deleting` now."""
    found = []
    for key in keys:
        referred = exists().where(*_is(key, t.blob_refs))
        changed = await tx.execute(update(t.blobs).where(*_is(key), ~referred).values(state="deleting"))
        if changed.rowcount:
            found.append(key)
    return found


def _is(key: Key, table: Table = t.blobs) -> tuple[ColumnElement[bool], ...]:
    return table.c.project == key[0], table.c.sha256 == key[1]
