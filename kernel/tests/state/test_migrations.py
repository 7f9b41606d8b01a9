import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, inspect, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.api.db import Database
from fedk.api.errors import StateError
from fedk.state import migrations
from fedk.state.errors import WrongRelease
from fedk.state.migrations.scripts import config
from fedk.state.store import Store
from fedk.state.tables import lease, metadata, projects, schema_info
from fedk_plugin_sqlite import Sqlite, SqliteConfig


def differences(connection: Connection) -> list[Any]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


def newest(connection: Connection) -> str | None:
    return ScriptDirectory.from_config(config(connection)).get_current_head()


async def test_the_migrations_make_the_tables_that_the_code_expects(store: Store) -> None:
    async with store.reading() as connection:
        assert await connection.run_sync(differences) == [], "write a migration: python -m fedk.state.migrations WHAT"


async def test_the_newest_revision_is_known_without_alembic(store: Store) -> None:
    async with store.reading() as connection:
        assert await connection.run_sync(newest) == migrations.head()


async def test_opening_again_keeps_the_rows(database: Sqlite, data_dir: Path) -> None:
    store = await Store.open(database, data_dir, owner="one")
    async with store.transaction() as connection:
        await connection.execute(insert(projects).values(id="p", name="p", limits={}))
    await store.close()
    store = await Store.open(database, data_dir, owner="two")
    async with store.reading() as connection:
        assert (await connection.execute(projects.select())).one().name == "p"
    await store.close()


async def rewritten(database: Sqlite, data_dir: Path, **values: object) -> None:
    """A database as a newer release would leave it."""
    store = await Store.open(database, data_dir, owner="newer")
    async with store.transaction() as connection:
        revision = values.pop("revision", migrations.head())
        await connection.execute(update(migrations.VERSION).values(version_num=revision))
        await connection.execute(update(schema_info).values(values))
    await store.close()


@pytest.mark.parametrize("newer", [{"revision": "9999"}, {"rules_version": 2}])
async def test_a_database_of_a_newer_release_is_refused_with_both_versions(
    newer: dict[str, object], database: Sqlite, data_dir: Path
) -> None:
    await rewritten(database, data_dir, release="99.0.0", **newer)
    words = rf"written by fedk 99\.0\.0, this is the older {migrations.release()}: install fedk 99\.0\.0 or newer"
    with pytest.raises(WrongRelease, match=words):
        await Store.open(database, data_dir, owner="older")
    with pytest.raises(WrongRelease, match=words):
        await Store.open_read_only(database, data_dir)


async def test_a_newer_release_with_the_same_tables_and_rules_is_no_obstacle(database: Sqlite, data_dir: Path) -> None:
    await rewritten(database, data_dir, release="99.0.0")
    await (await Store.open(database, data_dir, owner="older")).close()


async def test_a_newer_server_records_its_rules(database: Sqlite, data_dir: Path) -> None:
    await (await Store.open(database, data_dir, owner="older", rules_version=1)).close()
    await (await Store.open(database, data_dir, owner="newer", rules_version=2)).close()
    with pytest.raises(WrongRelease, match="this is the older"):
        await Store.open(database, data_dir, owner="older", rules_version=1)


async def test_a_reader_waits_for_the_server_to_upgrade(database: Sqlite, data_dir: Path) -> None:
    await rewritten(database, data_dir, release="0.0.1", revision="0000")
    with pytest.raises(WrongRelease, match=r"fedk 0\.0\.1, this is .*: start the server once, which upgrades it"):
        await Store.open_read_only(database, data_dir)


async def test_a_database_that_no_server_has_used_is_empty(database: Sqlite, data_dir: Path) -> None:
    engine = database.engine(data_dir)
    async with engine.begin():
        pass
    await engine.dispose()
    with pytest.raises(WrongRelease, match=r"database .*/fedk\.sqlite is empty: no server has used it yet"):
        await Store.open_read_only(database, data_dir)


async def test_an_upgrade_that_fails_leaves_nothing(database: Sqlite, data_dir: Path) -> None:
    engine = database.engine(data_dir)
    async with engine.begin() as connection:  # in the way of the first migration
        await connection.run_sync(lambda sync: metadata.create_all(sync, [schema_info]))
    with pytest.raises(StateError, match="schema_info already exists"):
        await Store.open(database, data_dir, owner="test")
    async with engine.begin() as connection:
        assert await tables(connection) == ["schema_info"]
    await engine.dispose()


async def tables(connection: AsyncConnection) -> list[str]:
    return await connection.run_sync(lambda sync: sorted(inspect(sync).get_table_names()))


async def test_two_servers_that_start_at_once_upgrade_once(tmp_path: Path) -> None:
    class Shared(Sqlite):
        shared = True

    database: Database[SqliteConfig] = Shared(SqliteConfig(path=str(tmp_path / "rows.sqlite")))
    stores = [await Store.open(database, tmp_path / name, owner=name) for name in ("one", "two")]
    async with stores[1].reading() as connection:
        assert (await connection.execute(lease.select())).one().owner == "two"
    for store in stores:
        await store.close()


def test_the_command_that_writes_migrations_says_how_it_is_called() -> None:
    done = subprocess.run([sys.executable, "-m", "fedk.state.migrations"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "usage: python -m fedk.state.migrations WHAT CHANGED" in done.stderr
