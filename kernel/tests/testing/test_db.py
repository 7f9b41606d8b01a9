"""The database suite catches each driver that is wrong on purpose, by the test that is about it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from fedk.api.db import Database
from fedk.testing.db import DatabaseSuite, Open
from fedk_plugin_sqlite import Sqlite


class Fast(Sqlite):
    """Survives kill -9, but no power cut."""

    def engine(self, data_dir: Path, *, read_only: bool = False) -> AsyncEngine:
        engine = super().engine(data_dir, read_only=read_only)
        event.listen(
            engine.sync_engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = NORMAL")
        )
        return engine


class FastInThreads(Sqlite):
    """Survives no power cut where it is called without asyncio."""

    def blocking(self, data_dir: Path) -> Engine:
        engine = super().blocking(data_dir)
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = NORMAL"))
        return engine


class Plain(Database[Any]):
    """As SQLAlchemy gives it."""

    def engine(self, data_dir: Path, *, read_only: bool = False) -> AsyncEngine:
        return create_async_engine(f"sqlite+aiosqlite:///{data_dir}/plain.sqlite")


class Forgetful(Database[Any]):
    def engine(self, data_dir: Path, *, read_only: bool = False) -> AsyncEngine:
        return create_async_engine("sqlite+aiosqlite://")


class Writable(Sqlite):
    def engine(self, data_dir: Path, *, read_only: bool = False) -> AsyncEngine:
        return super().engine(data_dir)


class OwnFiles(Sqlite):
    """Each engine has a file of its own."""

    opened = 0

    def engine(self, data_dir: Path, *, read_only: bool = False) -> AsyncEngine:
        self.opened += 1
        (data_dir / str(self.opened)).mkdir()
        return super().engine(data_dir / str(self.opened))


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Callable[[Database[Any]], Open]]:
    engines: list[AsyncEngine] = []

    def opener(database: Database[Any]) -> Open:
        def open_engine(*, read_only: bool = False) -> AsyncEngine:
            engines.append(database.engine(tmp_path, read_only=read_only))
            return engines[-1]

        return open_engine

    yield opener
    for engine in engines:
        await engine.dispose()


@pytest.mark.parametrize(
    ("driver", "test", "words"),
    [
        (Fast, DatabaseSuite.test_a_commit_is_durable, "synchronous must be FULL"),
        (Plain, DatabaseSuite.test_a_commit_is_durable, "journal_mode must be WAL"),
        (Plain, DatabaseSuite.test_a_failed_transaction_leaves_nothing_not_even_a_table, "not part of the transaction"),
        (Plain, DatabaseSuite.test_a_read_only_engine_refuses_to_write, "a read-only engine wrote a row"),
        (Writable, DatabaseSuite.test_a_read_only_engine_refuses_to_write, "a read-only engine wrote a row"),
        (Forgetful, DatabaseSuite.test_a_commit_is_there_after_a_restart, "a table that was committed cannot be read"),
        (OwnFiles, DatabaseSuite.test_engines_see_each_others_commits, "a table that was committed cannot be read"),
    ],
)
async def test_a_wrong_driver_is_caught(
    driver: type[Database[Any]],
    test: Callable[[DatabaseSuite, Open], Awaitable[None]],
    words: str,
    opened: Callable[[Database[Any]], Open],
) -> None:
    with pytest.raises(AssertionError, match=words):
        await test(DatabaseSuite(), opened(driver()))


async def test_a_wrong_engine_without_asyncio_is_caught(
    opened: Callable[[Database[Any]], Open], tmp_path: Path
) -> None:
    driver = FastInThreads()
    with pytest.raises(AssertionError, match="FULL in the engine without asyncio too"):
        await DatabaseSuite().test_an_engine_without_asyncio_is_as_durable_and_as_whole(
            driver, tmp_path, opened(driver)
        )
