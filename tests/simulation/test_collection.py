"""Writers and the collector in virtual time: whatever their steps' order is and wherever it ends, rows and bytes agree."""

import asyncio
import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from tests.simulation.clock import Loop, World, simulated
from tests.simulation.federation import catalogue
from tests.simulation.server import FaultyBlobs, FaultyStore

from fedk.api.errors import FedkError
from fedk.blobs.part import Stored
from fedk.blobs.store import Blobs
from fedk.rounds.book import Book
from fedk.rounds.collection import Collection
from fedk.rounds.ledger import Record, session_row
from fedk.rounds.roster import Roster
from fedk.rounds.rules import Rules
from fedk.rounds.states import Session
from fedk.state import tables as t
from fedk.state.store import Store

pytestmark = [  # a server that is killed closes nothing
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),
]

CONTENTS = [b"one", b"two", b"three"]
"""Few: sessions write what another one's collection deletes at that moment."""


class Server:
    """A store, blobs and their collection over one directory."""

    def __init__(self, data_dir: Path, world: World) -> None:
        self.data_dir, self.world = data_dir, world

    async def start(self) -> None:
        FaultyStore.world = FaultyBlobs.world = self.world
        self.store: Store = await FaultyStore.open(catalogue().create("db", "sqlite"), self.data_dir, owner="test")
        self.blobs: Blobs = FaultyBlobs(catalogue().create("storage", "local"), self.data_dir)
        await self.blobs.start()
        self.collection = Collection(self.store, self.blobs)
        self.collection.look()

    async def close(self) -> None:
        await self.collection.close()
        await self.blobs.close()
        await self.store.close()


class Writer:
    """A session that keeps its newest model only, and commits one after another."""

    def __init__(self, server: Server, name: str, world: World) -> None:
        self.server, self.world = server, world
        self.state = Session(name, Rules.model_validate({"models": {"keep": "last:1"}}).settled(minimum=1, seed=1))
        self.record = Record("default", name, None, "fedavg", "", 0.0)

    async def begin(self) -> None:
        async with self.server.store.transaction() as tx:
            await tx.execute(insert(t.sessions).values(session_row(self.state, self.record)))

    async def work(self) -> None:
        for no in range(5):
            while not await self._commit(no, self.world.luck.choice(CONTENTS)):
                pass

    async def _commit(self, no: int, data: bytes) -> bool:
        try:
            with self.server.blobs.hold() as hold:
                with hold.part("default") as part:
                    await asyncio.to_thread(part.write, data)
                    stored = await asyncio.to_thread(part.seal)
                await self._write(no, stored)
                await asyncio.to_thread(hold.settle)
        except FedkError:
            return await self._there(no)
        if self.world.luck.random() < 0.5:
            self.server.collection.look(self.state.id)
        return True

    async def _there(self, no: int) -> bool:
        async with self.server.store.reading() as db:
            head = await db.scalar(select(t.sessions.c.head_round).where(t.sessions.c.id == self.state.id))
        return head == no

    async def _write(self, no: int, stored: Stored) -> None:
        book, id_ = Book(Roster(), str), f"{self.state.id}/{no}"
        book.blob("default", stored.sha256, stored.size, "model")
        book.reference("default", stored.sha256, "model", id_)
        book.writes.insert(t.models, model(self.state.id, no, stored, id_))
        async with self.server.store.transaction() as tx:
            await tx.run_sync(book.writes.execute)
            mine = t.sessions.c.id == self.state.id
            await tx.execute(update(t.sessions).where(mine).values(head_round=no, head_model=id_))


def model(session: str, no: int, stored: Stored, id_: str) -> dict[str, Any]:
    return {
        "id": id_, "project": "default", "session": session, "round": no, "parent": None, "sha256": stored.sha256,
        "bytes": stored.size, "digest": b"", "aggregator": "", "aggregator_version": "", "config_hash": b"",
        "state_sha256": None, "state_scalars": {}, "recipe": {}, "seconds": {}, "committed_at": 0.0,
    }  # fmt: skip


async def written(server: Server, world: World, count: int) -> None:
    world.calm = True
    await server.start()
    writers = [Writer(server, f"s{n}", world) for n in range(count)]
    for writer in writers:
        await writer.begin()
    world.calm = False
    await asyncio.gather(*(writer.work() for writer in writers))
    world.calm = True
    server.collection.look(*(f"s{n}" for n in range(count)))
    await server.collection.idle()
    await agree(server)
    await server.close()


async def restarted(server: Server) -> None:
    await server.start()
    await server.collection.idle()
    await agree(server)
    assert await server.blobs.leftovers() == {}
    await server.close()


async def agree(server: Server) -> None:
    """Each reference has a live row, each row its bytes, and there are no bytes beside."""
    async with server.store.reading() as db:
        heads = {row.id: row.head_model for row in await db.execute(select(t.sessions))}
        refs = {(row.ref_id, row.sha256) for row in await db.execute(select(t.blob_refs))}
        rows = {row.sha256: row.state for row in await db.execute(select(t.blobs))}
    assert {id_ for id_, _ in refs} == {id_ for id_ in heads.values() if id_ is not None}
    assert {sha256 for _, sha256 in refs} == set(rows), "rows without a reference, or the reverse"
    assert set(rows.values()) <= {"live"}
    found = {path.name: path.read_bytes() for path in (server.data_dir / "blobs").rglob("*") if path.is_file()}
    assert set(found) == {sha256.hex() for sha256 in rows}, "bytes without a row, or the reverse"
    assert all(hashlib.sha256(data).hexdigest() == name for name, data in found.items())


@pytest.fixture
def life(tmp_path: Path) -> Any:
    """Runs a server's life; answers whether it came to its end."""

    def lived(world: World, work: Any, server: Server, crash_after: int | None = None) -> bool:
        loop = Loop(world, crash_after=crash_after)
        asyncio.set_event_loop(loop)
        try:
            task = loop.create_task(work)
            task.add_done_callback(stop := lambda _: loop.stop())
            loop.run_forever()
            if task.done():
                task.result()
                return True
            task.remove_done_callback(stop)
            shutil.copytree(server.data_dir, tmp_path / "after")
            loop.crash_after, world.dying, world.calm = None, True, True
            loop.run_until_complete(buried(server))
            world.dying = False
            return False
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    return lived


async def buried(server: Server) -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    if hasattr(server, "store"):
        await server.store.close()


@pytest.mark.parametrize("seed", range(20))
def test_no_order_of_steps_takes_bytes_that_a_row_names_or_leaves_others(seed: int, tmp_path: Path, life: Any) -> None:
    world = World(seed)
    with simulated(world):
        server = Server(tmp_path / "data", world)
        assert life(world, written(server, world, 4), server)


@pytest.mark.parametrize("seed", range(30))
def test_a_server_that_is_killed_at_any_step_is_put_in_order_by_the_next(seed: int, tmp_path: Path, life: Any) -> None:
    world = World(seed)
    with simulated(world):
        server = Server(tmp_path / "data", world)
        after = server
        if not life(world, written(server, world, 4), server, crash_after=world.luck.randrange(50, 2_500)):
            after = Server(tmp_path / "after", world)
        world.calm = True
        assert life(world, restarted(after), after)
