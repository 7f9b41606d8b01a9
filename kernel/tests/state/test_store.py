import asyncio
import signal
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.exc import IntegrityError

from fedk.api.errors import StateError
from fedk.state.errors import Busy, ConnectionLost, DiskFull, Locked, LostLease
from fedk.state.store import Store
from fedk.state.tables import lease, projects
from fedk_plugin_sqlite import Sqlite, SqliteConfig


async def add(store: Store, name: str) -> None:
    async with store.transaction() as connection:
        await connection.execute(insert(projects).values(id=name, name=name, limits={}))


def scribble(data_dir: Path) -> Path:
    path = data_dir / "fedk.sqlite"
    path.write_bytes(b"no database at all, " * 100)
    return path


async def names(store: Store) -> list[str]:
    async with store.reading() as connection:
        return list((await connection.execute(select(projects.c.name).order_by(projects.c.name))).scalars())


class TestTransactions:
    async def test_a_block_that_ends_well_is_committed(self, store: Store) -> None:
        await add(store, "a")
        assert await names(store) == ["a"]

    async def test_a_block_that_raises_leaves_nothing_and_the_next_one_works(self, store: Store) -> None:
        async def failing() -> None:
            async with store.transaction() as connection:
                await connection.execute(insert(projects).values(id="a", name="a", limits={}))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await failing()
        assert await names(store) == []
        await add(store, "b")
        assert await names(store) == ["b"]

    async def test_a_cancelled_block_leaves_nothing(self, store: Store) -> None:
        inside = asyncio.Event()

        async def cancelled() -> None:
            async with store.transaction() as connection:
                await connection.execute(insert(projects).values(id="a", name="a", limits={}))
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(cancelled())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await names(store) == []
        await add(store, "b")

    async def test_rows_are_committed_once_what_they_name_is_durable(self, store: Store) -> None:
        begun, durable = asyncio.Event(), asyncio.Event()

        async def bytes_first() -> None:
            begun.set()
            await durable.wait()

        def work(connection: Connection) -> None:
            connection.execute(insert(projects).values(id="a", name="a", limits={}))

        writing = asyncio.create_task(store.write(work, after=bytes_first()))
        await begun.wait()
        assert await names(store) == []
        durable.set()
        await writing
        assert await names(store) == ["a"]

    async def test_rows_of_what_could_not_be_made_durable_are_not_committed(self, store: Store) -> None:
        async def lost() -> None:
            raise StateError("the disk is gone")

        def work(connection: Connection) -> None:
            connection.execute(insert(projects).values(id="a", name="a", limits={}))

        with pytest.raises(StateError, match="the disk is gone"):
            await store.write(work, after=lost())
        assert await names(store) == []
        await store.write(work)
        assert await names(store) == ["a"]

    async def test_work_that_is_handed_over_whole_is_committed_whole_or_not_at_all(self, store: Store) -> None:
        def work(connection: Connection) -> int:
            connection.execute(insert(projects), [{"id": name, "name": name, "limits": {}} for name in "ab"])
            return len(connection.execute(select(projects)).all())

        def failing(connection: Connection) -> None:
            connection.execute(insert(projects), {"id": "c", "name": "c", "limits": {}})
            raise ZeroDivisionError

        assert await store.write(work) == 2
        with pytest.raises(ZeroDivisionError):
            await store.write(failing)
        with pytest.raises(IntegrityError):
            await store.write(work)
        assert await names(store) == ["a", "b"]

    async def test_both_ways_of_writing_take_turns(self, store: Store) -> None:
        def work(connection: Connection) -> None:
            connection.execute(insert(projects), {"id": "b", "name": "b", "limits": {}})

        await asyncio.gather(add(store, "a"), store.write(work), add(store, "c"))
        assert await names(store) == ["a", "b", "c"]

    async def test_one_at_a_time_in_the_order_of_asking(self, store: Store) -> None:
        await asyncio.gather(*(add(store, name) for name in "abcdefgh"))
        assert await names(store) == list("abcdefgh")

    async def test_a_mistake_in_a_statement_is_not_a_failure_of_the_database(self, store: Store) -> None:
        await add(store, "a")
        with pytest.raises(IntegrityError):
            await add(store, "a")

    async def test_a_reader_keeps_its_snapshot_while_others_commit(self, store: Store) -> None:
        await add(store, "a")
        async with store.reading() as connection:
            count = select(func.count()).select_from(projects)
            before = (await connection.execute(count)).scalar()
            await add(store, "b")
            assert (await connection.execute(count)).scalar() == before == 1


class TestLease:
    async def test_each_opening_leads_with_the_next_epoch_under_its_name(
        self, database: Sqlite, data_dir: Path
    ) -> None:
        for number, owner in enumerate(["alpha", "beta"], 1):
            store = await Store.open(database, data_dir, owner=owner)
            assert store.epoch == number
            async with store.reading() as connection:
                row = (await connection.execute(lease.select())).one()
            assert (row.epoch, row.owner) == (number, owner)
            await store.close()

    async def test_a_server_whose_lease_was_taken_writes_no_more(self, tmp_path: Path) -> None:
        database = Sqlite(SqliteConfig(path=str(tmp_path / "rows.sqlite")))
        old = await Store.open(database, tmp_path / "one", owner="old")
        new = await Store.open(database, tmp_path / "two", owner="new")
        with pytest.raises(LostLease, match=r'"new" has taken over database .*rows.sqlite \(epoch 2, this is 1\)'):
            await add(old, "a")
        with pytest.raises(LostLease, match="epoch 2, this is 1"):
            await old.write(lambda connection: connection.execute(select(1)))
        await add(new, "b")
        assert await names(old) == ["b"]
        await old.close()
        await new.close()


class TestFailures:
    async def test_a_full_disk_is_named_and_what_follows_works(self, store: Store) -> None:
        async with store.transaction() as connection:
            pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar()
            await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(DiskFull, match=r"fedk.sqlite: database or disk is full .* Free space on its disk"):
            await add(store, "a" * 100_000)
        async with store.transaction() as connection:
            await connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        await add(store, "b")
        assert await names(store) == ["b"]

    async def test_another_process_that_holds_the_database_is_named_as_the_cause(
        self, store: Store, database: Sqlite, data_dir: Path
    ) -> None:
        other = database.engine(data_dir)
        async with other.begin():
            with pytest.raises(Busy, match=r"database is locked .* End the other process that uses it"):
                await add(store, "a")
        await add(store, "b")
        assert await names(store) == ["b"]
        await other.dispose()

    async def test_a_lost_connection_is_replaced_for_the_next_transaction(self, store: Store) -> None:
        async def losing() -> None:
            async with store.transaction() as connection:
                raw = await connection.get_raw_connection()
                assert raw.driver_connection is not None
                await raw.driver_connection.close()
                await connection.execute(select(1))

        with pytest.raises(ConnectionLost, match="the connection was lost"):
            await losing()
        await add(store, "b")

    async def test_a_damaged_file_is_named(self, database: Sqlite, data_dir: Path) -> None:
        scribble(data_dir)
        with pytest.raises(StateError, match=r"file is not a database \(SQLITE_NOTADB\)\. Restore it from a backup"):
            await Store.open(database, data_dir, owner="test")

    async def test_a_failed_opening_frees_the_directory(self, database: Sqlite, data_dir: Path) -> None:
        path = scribble(data_dir)
        with pytest.raises(StateError):
            await Store.open(database, data_dir, owner="test")
        path.unlink()
        await (await Store.open(database, data_dir, owner="test")).close()


class TestReaders:
    async def test_a_directory_is_read_without_its_server(self, database: Sqlite, data_dir: Path) -> None:
        store = await Store.open(database, data_dir, owner="test")
        await add(store, "a")
        await store.close()
        reader = await Store.open_read_only(database, data_dir)
        assert await names(reader) == ["a"]
        assert reader.epoch == 0
        with pytest.raises(StateError, match="open for reading only: ask the server"):
            await add(reader, "b")
        await reader.close()

    async def test_two_readers_do_not_disturb_each_other(self, database: Sqlite, data_dir: Path) -> None:
        await (await Store.open(database, data_dir, owner="test")).close()
        first = await Store.open_read_only(database, data_dir)
        second = await Store.open_read_only(database, data_dir)
        assert await names(first) == await names(second) == []
        await first.close()
        await second.close()

    async def test_while_a_server_has_it_a_reader_is_sent_there(
        self, store: Store, database: Sqlite, data_dir: Path
    ) -> None:
        store.announce("http://127.0.0.1:6080")
        with pytest.raises(Locked, match=r"--url http://127\.0\.0\.1:6080"):
            await Store.open_read_only(database, data_dir)

    async def test_a_directory_without_a_database_is_named(self, database: Sqlite, tmp_path: Path) -> None:
        with pytest.raises(StateError, match=r"database /.*/nowhere/fedk.sqlite: unable to open .*Look at the path"):
            await Store.open_read_only(database, tmp_path / "nowhere")


SERVER = """
import asyncio, sys
from pathlib import Path
from sqlalchemy import insert
from fedk.state.store import Store
from fedk.state.tables import projects
from fedk_plugin_sqlite import Sqlite

async def main():
    store = await Store.open(Sqlite(), Path(sys.argv[1]), owner="killed")
    async with store.transaction() as connection:
        await connection.execute(insert(projects).values(id="committed", name="committed", limits={}))
    async with store.transaction() as connection:
        await connection.execute(insert(projects).values(id="open", name="open", limits={}))
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
async def killed(data_dir: Path) -> Path:
    """A directory whose server was killed with one transaction committed and one under way."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, str(data_dir), stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    assert await server.stdout.readline() == b"ready\n"
    server.send_signal(signal.SIGKILL)
    await server.wait()
    return data_dir


class TestAfterAKill:
    async def test_commits_are_there_and_nothing_else(self, killed: Path, database: Sqlite) -> None:
        store = await Store.open(database, killed, owner="next")
        assert await names(store) == ["committed"]
        assert store.epoch == 2
        await store.close()

    async def test_a_reader_sees_them_without_a_server(self, killed: Path, database: Sqlite) -> None:
        reader = await Store.open_read_only(database, killed)
        assert await names(reader) == ["committed"]
        await reader.close()


async def test_names_with_odd_characters_are_opened(tmp_path: Path, database: Sqlite) -> None:
    store = await Store.open(database, tmp_path / "ä #1 50%?", owner="test")
    async with store.reading() as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar() == 1
    assert store.name == f"database {tmp_path}/ä #1 50%?/fedk.sqlite"
    await store.close()


@pytest.mark.parametrize("instead", [None, b"", b"a backup"])
async def test_a_database_that_is_taken_away_takes_nothing_until_it_is_back(
    store: Store, data_dir: Path, instead: bytes | None
) -> None:
    path, aside = data_dir / "fedk.sqlite", data_dir / "aside"
    await add(store, "a")
    path.rename(aside)
    if instead is not None:
        path.write_bytes(instead)
    with pytest.raises(StateError, match="was deleted or replaced while it is in use"):
        await add(store, "b")
    with pytest.raises(StateError, match="was deleted or replaced while it is in use"):
        await store.write(lambda tx: tx.execute(insert(projects).values(id="b", name="b", limits={})))
    with pytest.raises(StateError, match="was deleted or replaced while it is in use"):
        await names(store)
    aside.rename(path)
    await add(store, "c")
    assert await names(store) == ["a", "c"]
