"""Words about clients and combiners that have come or gone: what is in memory comes into the rows, once and in order."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from fedk.api.errors import StateError
from fedk.rounds import repairs
from fedk.rounds.clients import Joining
from fedk.rounds.combiners import Combiner
from fedk.state import tables as t
from fedk.state.store import Store
from fedk.testing.site import Play, Site, site

Write = Callable[..., Coroutine[Any, Any, Any]]


class Database:
    """Fails with each of `errors`, after it has `committed` or before; `failed` is set by the last."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.errors, self.committed, self.failed = list[Exception](), False, asyncio.Event()
        write = Store.write

        async def failing(store: Store, work: Any, **more: Any) -> Any:
            if not self.errors:
                return await write(store, work, **more)
            if self.committed:
                await write(store, work, **more)
            error = self.errors.pop()
            if not self.errors:
                self.failed.set()
            raise error

        monkeypatch.setattr(Store, "write", failing)
        monkeypatch.setattr(repairs, "FIRST", 0.001)


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    return Database(monkeypatch)


async def written(here: Site, since: int) -> list[str]:
    async with here.store.reading() as db:
        query = select(t.events.c.type).where(t.events.c.seq > since).order_by(t.events.c.seq)
        return list((await db.scalars(query)).all())


async def state(here: Site, name: str) -> str:
    async with here.store.reading() as db:
        return str((await db.scalars(select(t.clients.c.state).where(t.clients.c.name == name))).one())


async def test_who_has_gone_is_written_later_where_it_could_not_be_at_once(tmp_path: Path, database: Database) -> None:
    async with site(tmp_path / "data") as here:
        await here.tier.attach(east := Combiner("east", "1", ("east:1",)))
        a, _ = await here.players.join("a"), await here.players.join("b")
        since = here.runner._seq
        database.errors += [StateError("the disk is full"), StateError("the disk is full")]
        here.players.leave(a)
        here.tier.detached(east)
        await database.failed.wait()
        await here.players.join("c")
        assert await written(here, since) == ["client.left", "combiner.lost", "client.joined"]
        assert await state(here, "a") == "left"


async def test_who_has_gone_is_written_once_where_the_answer_to_the_commit_was_lost(
    tmp_path: Path, database: Database
) -> None:
    async with site(tmp_path / "data") as here:
        a, since = await here.players.join("a"), here.runner._seq
        database.errors, database.committed = [StateError("the connection broke")], True
        here.players.leave(a)
        await database.failed.wait()
        await here.players.join("b")
        assert await written(here, since) == ["client.left", "client.joined"]


async def test_who_has_come_is_told_so_where_the_answer_to_the_commit_was_lost(
    tmp_path: Path, database: Database
) -> None:
    async with site(tmp_path / "data") as here:
        database.errors, database.committed = [StateError("the connection broke")], True
        a = await here.players.join("a")
        assert (here.runner.roster[a].state, await state(here, "a")) == ("connected", "connected")


async def test_a_word_that_no_database_takes_is_not_said_again(tmp_path: Path, database: Database) -> None:
    async with site(tmp_path / "data") as here:
        a, since = await here.players.join("a"), here.runner._seq
        database.errors = [IntegrityError("insert", None, Exception("no such project"))]
        here.players.leave(a)
        await database.failed.wait()
        await here.players.join("b")
        assert await written(here, since) == ["client.joined"]


async def test_a_server_ends_though_its_last_words_cannot_be_written(tmp_path: Path, database: Database) -> None:
    async with asyncio.timeout(30), site(tmp_path / "data") as here:
        a = await here.players.join("a")
        database.errors = [StateError("the disk is full")] * 1000
        here.players.leave(a)
    assert database.errors
    database.errors = []


async def test_of_a_client_whose_new_process_could_not_be_written_sessions_hear_that_it_is_lost(
    tmp_path: Path, database: Database
) -> None:
    """Its old one is none any more, and the new one may never say hello again."""
    async with site(tmp_path / "data") as here:
        await here.players.join("a", Play(silent=True))
        rules: dict[str, Any] = {"clients": {"min": 1, "grace": 0.01}, "validation": {"every": 0}}
        await here.start(until="round.open", **rules)
        with here.desk.feed.listen() as listener:
            database.errors = [StateError("the disk is full")]
            with pytest.raises(StateError):
                await here.players.door.join(Joining("default", "a", "a-2", {}, ("train",), (), ""))
            async for event in listener:
                if event.type == "task.lost":
                    break
        assert event.body["client"] == "a"
