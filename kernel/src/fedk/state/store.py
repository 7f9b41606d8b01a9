"""The rows: one writer at a time, under a lease; readers beside it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fedk.api.db import Database
from fedk.api.errors import StateError
from fedk.state import migrations
from fedk.state.errors import LostLease, described, translated
from fedk.state.lock import DirectoryLock
from fedk.state.tables import lease

LEADER = "leader"

T = TypeVar("T")

_LEASE = select(lease.c.epoch, lease.c.owner).where(lease.c.name == LEADER).with_for_update(read=True)


class Store:
    """An open database. `open` for the server, `open_read_only` for who only looks."""

    def __init__(
        self,
        readers: AsyncEngine,
        writer: AsyncEngine | None = None,
        lock: DirectoryLock | None = None,
        *,
        blocking: Engine | None = None,
    ) -> None:
        self.epoch = 0
        """Counts the servers that have led this database; 0 for a reader."""
        self.name = described(readers.url)
        self._readers, self._writer, self._lock, self._blocking = readers, writer, lock, blocking
        self._writing = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "fedk-rows")

    @classmethod
    async def open(cls, database: Database[Any], data_dir: Path, *, owner: str, rules_version: int = 1) -> Self:
        """Lock the directory, bring the tables to this release, take the lease in the name of `owner`.

        StateError: the directory cannot be used or is in use; the database is newer, damaged, full or away.
        """
        lock = await asyncio.to_thread(DirectoryLock.take, data_dir)
        writer = database.engine(data_dir)
        readers = database.engine(data_dir, read_only=True)
        store = cls(readers, writer, lock, blocking=database.blocking(data_dir))
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
                    await connection.run_sync(self._check_lease)
                    yield connection

    async def write(self, work: Callable[[Connection], T], *, after: Coroutine[Any, Any, None] | None = None) -> T:
        """`work` in a transaction, as in `transaction`; by one thread in one go, where the database can.

        Committed when `after` is done, which goes on meanwhile; rolled back where that fails. Handing each statement to
        a thread and back is what a transaction of forty costs, its fsync aside.
        """
        if after is None:
            return await self._written(work, None)
        before = asyncio.create_task(after)
        try:
            return await self._written(work, before)
        finally:
            await asyncio.gather(before, return_exceptions=True)

    async def _written(self, work: Callable[[Connection], T], before: asyncio.Task[None] | None) -> T:
        if self._blocking is None:
            async with self.transaction() as connection:
                found = await connection.run_sync(work)
                if before is not None:
                    await before
                return found
        ready = _outcome(before)
        async with self._writing:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, self._write, self._blocking, work, ready
            )

    def _write(self, engine: Engine, work: Callable[[Connection], T], ready: "Future[None]") -> T:
        with translated(self.name), engine.begin() as connection:
            self._check_lease(connection)
            found = work(connection)
            ready.result()
            return found

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """One snapshot for all that is read in the block; writers need not wait for it."""
        with translated(self.name):
            async with self._readers.connect() as connection:
                yield connection

    async def close(self) -> None:
        """Readers first: the last connection folds the write-ahead log into the database."""
        await self._readers.dispose()
        if self._blocking is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._blocking.dispose)
        self._thread.shutdown()
        if self._writer is not None:
            await self._writer.dispose()
        if self._lock is not None:
            self._lock.release()

    def _check_lease(self, connection: Connection) -> None:
        """Locks the row where the database can: who takes over waits for the end of this transaction."""
        row = connection.execute(_LEASE).one()
        if row.epoch != self.epoch:
            raise LostLease(
                f'"{row.owner}" has taken over {self.name} (epoch {row.epoch}, this is {self.epoch}): this server '
                "stops writing. Let one server at a time use a database"
            )


def _outcome(task: asyncio.Task[None] | None) -> "Future[None]":
    """A task's outcome, for a thread to wait for."""
    found: Future[None] = Future()

    def tell(done: asyncio.Task[None]) -> None:
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        found.set_exception(error) if error else found.set_result(None)

    if task is None:
        found.set_result(None)
    else:
        task.add_done_callback(tell)
    return found


async def _take_lease(connection: AsyncConnection, owner: str) -> int:
    values = {"owner": owner, "expires_at": 0.0}  # who takes it over needs no clock: it fences by epoch
    statement = update(lease).where(lease.c.name == LEADER).values(epoch=lease.c.epoch + 1, **values)
    if not (await connection.execute(statement)).rowcount:
        await connection.execute(insert(lease).values(name=LEADER, epoch=1, **values))
    return int((await connection.execute(select(lease.c.epoch).where(lease.c.name == LEADER))).scalar_one())
