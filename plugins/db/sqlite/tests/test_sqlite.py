import asyncio
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from fedk.testing.db import DatabaseSuite, Open
from fedk.testing.readme import key_table
from fedk_plugin_sqlite import Sqlite, SqliteConfig


class TestSqlite(DatabaseSuite):
    @pytest.fixture
    def database(self) -> Sqlite:
        return Sqlite()

    async def test_foreign_keys_are_enforced(self, open_engine: Open) -> None:
        async with open_engine().begin() as connection:
            assert (await connection.exec_driver_sql("PRAGMA foreign_keys")).scalar() == 1


@pytest.mark.parametrize("path", ["rows.sqlite", "odd #?%20&=ä name"])
async def test_a_relative_path_is_in_the_data_directory(path: str, tmp_path: Path) -> None:
    engine = Sqlite(SqliteConfig(path=path)).engine(tmp_path)
    async with engine.begin():
        pass
    await engine.dispose()
    assert (tmp_path / path).is_file()


async def test_a_reader_does_not_make_a_database(tmp_path: Path) -> None:
    engine = Sqlite().engine(tmp_path, read_only=True)
    with pytest.raises(OperationalError, match="unable to open database file"):
        async with engine.connect():
            pass
    await engine.dispose()
    assert not await asyncio.to_thread((tmp_path / "fedk.sqlite").exists)


async def test_a_writer_waits_for_another_no_longer_than_busy_timeout(tmp_path: Path) -> None:
    database = Sqlite(SqliteConfig(busy_timeout=0.01))
    first, second = database.engine(tmp_path), database.engine(tmp_path)
    async with first.begin():
        with pytest.raises(OperationalError, match="database is locked"):
            async with second.begin():
                pass
    async with second.begin():
        pass
    for engine in (first, second):
        await engine.dispose()


def test_the_readme_has_every_key() -> None:
    assert key_table(SqliteConfig) in (Path(__file__).parent.parent / "README.md").read_text()
