"""What every database driver must do. Subclass `DatabaseSuite`, override the fixture `database`, run it with pytest.

    class TestSqlite(DatabaseSuite):
        @pytest.fixture
        def database(self) -> Sqlite:
            return Sqlite()

Each test wants a database without tables: a driver for a server makes and drops one in the fixture.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Engine,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    func,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fedk.api.db import Database
from fedk.state import migrations
from fedk.state.store import Store
from fedk.testing.suite import Suite, since

METADATA = MetaData()
THINGS = Table(
    "suite_things",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("count", BigInteger),
    Column("value", Float(53)),
    Column("text", String(200)),
    Column("hash", LargeBinary(32)),
    Column("body", JSON),
)

Open = Callable[..., AsyncEngine]
"""open_engine(read_only=False): another engine of the same database, disposed when the test ends."""


@pytest.mark.asyncio
@since("1.0")
class DatabaseSuite(Suite):
    """Tests of a driver as the kernel uses it: one engine that writes, one that reads, restarts."""

    undoes_ddl = True
    """False where the database ends the transaction at CREATE TABLE (MySQL)."""

    @pytest.fixture
    def database(self) -> Database[Any]:
        """The driver to test, configured."""
        raise NotImplementedError("override the fixture `database` with your driver")

    @pytest.fixture
    def data_dir(self, tmp_path: Path) -> Path:
        return tmp_path

    @pytest_asyncio.fixture
    async def open_engine(self, database: Database[Any], data_dir: Path) -> AsyncIterator[Open]:
        engines: list[AsyncEngine] = []

        def open_engine(*, read_only: bool = False) -> AsyncEngine:
            engines.append(database.engine(data_dir, read_only=read_only))
            return engines[-1]

        yield open_engine
        for engine in reversed(engines):
            await engine.dispose()

    async def assert_durable(self, connection: AsyncConnection) -> None:
        """That a commit survives power loss. A kill cannot tell: this asks the database. Override for other dialects."""
        if connection.dialect.name == "sqlite":
            assert await _scalar(connection, "PRAGMA synchronous") >= 2, "synchronous must be FULL"
            assert await _scalar(connection, "PRAGMA journal_mode") == "wal", "journal_mode must be WAL"
        elif connection.dialect.name == "postgresql":
            assert await _scalar(connection, "SHOW synchronous_commit") != "off", "synchronous_commit must not be off"
            assert await _scalar(connection, "SHOW fsync") == "on", "fsync must be on"
        elif connection.dialect.name in ("mysql", "mariadb"):
            flush = await _scalar(connection, "SELECT @@GLOBAL.innodb_flush_log_at_trx_commit")
            assert flush == 1, "innodb_flush_log_at_trx_commit must be 1"
        else:
            pytest.skip(f"override assert_durable for {connection.dialect.name}")

    async def test_a_commit_is_durable(self, open_engine: Open) -> None:
        engine = open_engine()
        for _ in range(2):  # also on a connection that comes back from the pool
            async with engine.begin() as connection:
                await self.assert_durable(connection)

    async def test_a_failed_transaction_leaves_nothing_not_even_a_table(self, open_engine: Open) -> None:
        if not self.undoes_ddl:
            pytest.skip("this database cannot undo CREATE TABLE")
        engine = open_engine()
        with pytest.raises(ZeroDivisionError):
            await _create_and_fail(engine)
        async with engine.begin() as connection:
            found = await connection.run_sync(lambda sync: inspect(sync).has_table(THINGS.name))
            assert not found, "the table is there: CREATE TABLE was not part of the transaction"

    async def test_engines_see_each_others_commits(self, open_engine: Open) -> None:
        first, second = open_engine(), open_engine()
        await _create(first, rows=1)
        async with second.begin() as connection:
            assert await _ids(connection) == [0], "an engine does not see what another has committed"
            await connection.execute(insert(THINGS).values(id=1))
        async with first.begin() as connection:
            assert await _ids(connection) == [0, 1], "an engine does not see what another has committed since"

    async def test_a_commit_is_there_after_a_restart(self, open_engine: Open) -> None:
        first = open_engine()
        await _create(first, rows=3)
        await first.dispose()
        async with open_engine(read_only=True).connect() as connection:
            assert await _ids(connection) == [0, 1, 2], "rows that were committed are not there after a restart"

    async def test_an_engine_without_asyncio_is_as_durable_and_as_whole(
        self, database: Database[Any], data_dir: Path, open_engine: Open
    ) -> None:
        engine = database.blocking(data_dir)
        if engine is None:
            pytest.skip("this driver has no engine without asyncio")
        await _create(open_engine())
        try:
            with pytest.raises(ZeroDivisionError):
                _insert_and_fail(engine)
            with engine.begin() as connection:
                connection.execute(insert(THINGS).values(id=2))
                if engine.dialect.name == "sqlite":
                    found = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
                    assert found >= 2, "synchronous must be FULL in the engine without asyncio too"
        finally:
            engine.dispose()
        async with open_engine(read_only=True).connect() as reading:
            assert await _ids(reading) == [2], "what the engine without asyncio committed is not what is there"

    async def test_values_come_back_as_they_went(self, open_engine: Open) -> None:
        row = {
            "count": 2**53 + 1,
            "value": 0.1 + 0.2,
            "text": "Müller 東京 🏥 'quoted'",
            "hash": bytes(range(32)),
            "body": {"loss": 1e-300, "names": ["ä", ""], "none": None},
        }
        engine = open_engine()
        await _create(engine)
        async with engine.begin() as connection:
            await connection.execute(insert(THINGS).values(id=1, **row))
        async with engine.begin() as connection:
            found = dict((await connection.execute(select(THINGS))).mappings().one())
            assert found == {"id": 1, **row}, "a value came back as another"

    async def test_a_read_only_engine_refuses_to_write(self, open_engine: Open) -> None:
        await _create(open_engine(), rows=1)
        readers = open_engine(read_only=True)
        assert await _refuses(readers), "a read-only engine wrote a row"
        async with readers.connect() as connection:
            assert await _ids(connection) == [0], "what a read-only engine refused is there all the same"

    async def test_readers_do_not_wait_for_a_writer_and_see_one_state(self, open_engine: Open) -> None:
        writer, readers = open_engine(), open_engine(read_only=True)
        await _create(writer, rows=1)
        async with readers.connect() as reading:
            assert await _ids(reading) == [0]
            async with writer.begin() as writing:
                await writing.execute(insert(THINGS).values(id=1))
                async with readers.connect() as another:
                    assert await _ids(another) == [0], "a reader sees a row that is not committed"
        async with readers.connect() as reading:
            assert await _ids(reading) == [0, 1], "a reader does not see a row that is committed"

    async def test_concurrent_transactions_lose_no_update(self, open_engine: Open) -> None:
        engines = [open_engine(), open_engine()]
        await _create(engines[0], rows=1)

        async def count(engine: AsyncEngine) -> None:
            for _ in range(10):
                async with engine.begin() as connection:
                    await connection.execute(update(THINGS).values(count=func.coalesce(THINGS.c.count, 0) + 1))

        await asyncio.gather(*map(count, engines))
        async with engines[0].begin() as connection:
            counted = (await connection.execute(select(THINGS.c.count))).scalar()
            assert counted == 20, f"20 transactions each added 1, and {counted} is there: an update was lost"

    async def test_the_kernels_tables_are_made_once(self, open_engine: Open) -> None:
        for _ in range(2):
            async with open_engine().begin() as connection:
                await connection.run_sync(migrations.upgrade, rules_version=1)
        async with open_engine(read_only=True).connect() as connection:
            assert await connection.run_sync(migrations.revision) == migrations.head()
            await connection.run_sync(migrations.check, rules_version=1)

    async def test_a_restarted_server_leads_with_a_higher_epoch(self, database: Database[Any], data_dir: Path) -> None:
        epochs = []
        for _ in range(2):
            store = await Store.open(database, data_dir, owner="suite")
            async with store.transaction() as connection:
                await connection.execute(select(1))
            epochs.append(store.epoch)
            await store.close()
        assert epochs[1] == epochs[0] + 1, f"two servers one after the other led with the epochs {epochs}"


async def _create(engine: AsyncEngine, *, rows: int = 0) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.create_all)
        for number in range(rows):
            await connection.execute(insert(THINGS).values(id=number))


async def _create_and_fail(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.create_all)
        await connection.execute(insert(THINGS).values(id=1))
        raise ZeroDivisionError


def _insert_and_fail(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(insert(THINGS).values(id=1))
        raise ZeroDivisionError


async def _ids(connection: AsyncConnection) -> list[int]:
    try:
        return list((await connection.execute(select(THINGS.c.id).order_by(THINGS.c.id))).scalars())
    except DBAPIError as error:
        raise AssertionError(f"a table that was committed cannot be read: {error.orig}") from error


async def _refuses(engine: AsyncEngine) -> bool:
    """Whether a row cannot be written."""
    try:
        async with engine.begin() as connection:
            await connection.execute(insert(THINGS).values(id=1))
    except DBAPIError:
        return True
    return False


async def _scalar(connection: AsyncConnection, statement: str) -> Any:
    return (await connection.exec_driver_sql(statement)).scalar()
