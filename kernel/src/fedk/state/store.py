"""The rows: one writer at a time, under a lease; readers beside it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fedk.api.db import Database
from fedk.api.errors import StateError
from fedk.state import migrations
from fedk.state.errors import LostLease, described, translated
from fedk.state.lock import DirectoryLock
from fedk.state.tables import lease

LEADER = "leader"


class Store:
    """An open database. `open` for the server, `open_read_only` for who only looks."""

    def __init__(
        self, readers: AsyncEngine, writer: AsyncEngine | None = None, lock: DirectoryLock | None = None
    ) -> None:
        self.epoch = 0
        """Counts the servers that have led this database; 0 for a reader."""
        self.name = described(readers.url)
        self._readers, self._writer, self._lock = readers, writer, lock
        self._writing = asyncio.Lock()

    @classmethod
    async def open(cls, database: Database[Any], data_dir: Path, *, owner: str, rules_version: int = 1) -> Self:
        """Lock the directory, bring the tables to this release, take the lease in the name of `owner`.

        StateError: the directory cannot be used or is in use; the database is newer, damaged, full or away.
        """
        lock = await asyncio.to_thread(DirectoryLock.take, data_dir)
        writer = database.engine(data_dir)
        store = cls(database.engine(data_dir, read_only=True), writer, lock)
        try:
            with translated(store.name):
                async with writer.begin() as connection:
                    await connection.run_sync(migrations.upgrade, rules_version=rules_version)
                    store.epoch = await _take_lease(connection, owner)
        except BaseException:
            await store.close()
            raise
        return store

    @classmethod
    async def open_read_only(cls, database: Database[Any], data_dir: Path, *, rules_version: int = 1) -> Self:
        """For looking into a directory without its server. Locked, with the address to ask, while one has it."""
        await asyncio.to_thread(DirectoryLock.check, data_dir)
        store = cls(database.engine(data_dir, read_only=True))
        try:
            async with store.reading() as connection:
                await connection.run_sync(migrations.check, rules_version=rules_version)
        except BaseException:
            await store.close()
            raise
        return store

    def announce(self, admin: str) -> None:
        """Tell who finds the directory locked whom to ask: the URL of this server's REST."""
        if self._lock is not None:
            self._lock.announce(admin)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """All or nothing, durable when the block is left; one at a time, so never inside another one.

        An exception rolls back and goes on. StateError: the database failed; LostLease: another server leads.
        """
        if self._writer is None:
            raise StateError(f"{self.name} is open for reading only: ask the server to change something")
        async with self._writing:
            with translated(self.name):
                async with self._writer.begin() as connection:
                    await self._check_lease(connection)
                    yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """One snapshot for all that is read in the block; writers need not wait for it."""
        with translated(self.name):
            async with self._readers.connect() as connection:
                yield connection

    async def close(self) -> None:
        """Readers first: the last connection folds the write-ahead log into the database."""
        await self._readers.dispose()
        if self._writer is not None:
            await self._writer.dispose()
        if self._lock is not None:
            self._lock.release()

    async def _check_lease(self, connection: AsyncConnection) -> None:
        """Locks the row where the database can: who takes over waits for the end of this transaction."""
        statement = select(lease.c.epoch, lease.c.owner).where(lease.c.name == LEADER).with_for_update(read=True)
        row = (await connection.execute(statement)).one()
        if row.epoch != self.epoch:
            raise LostLease(
                f'"{row.owner}" has taken over {self.name} (epoch {row.epoch}, this is {self.epoch}): this server '
                "stops writing. Let one server at a time use a database"
            )


async def _take_lease(connection: AsyncConnection, owner: str) -> int:
    values = {"owner": owner, "expires_at": 0.0}  # who takes it over needs no clock: it fences by epoch
    statement = update(lease).where(lease.c.name == LEADER).values(epoch=lease.c.epoch + 1, **values)
    if not (await connection.execute(statement)).rowcount:
        await connection.execute(insert(lease).values(name=LEADER, epoch=1, **values))
    return int((await connection.execute(select(lease.c.epoch).where(lease.c.name == LEADER))).scalar_one())
