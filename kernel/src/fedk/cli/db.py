"""`fedk db`: the tables of the database that the configuration chooses."""

import asyncio
from pathlib import Path
from typing import Any

import click

from fedk.api.db import Database
from fedk.api.errors import FedkError
from fedk.cli.config import FILE, checked
from fedk.rounds.rules import VERSION
from fedk.state import migrations
from fedk.state.errors import Locked, described, translated
from fedk.state.lock import DirectoryLock
from fedk.state.store import Store

DATA_DIR = click.option("--data-dir", type=click.Path(path_type=Path), help="server.data_dir unless given.")


@click.group()
def db() -> None:
    """Bring the database to this release, or see whether it is there."""


@db.command()
@FILE
@DATA_DIR
def upgrade(file: Path | None, data_dir: Path | None) -> None:
    """Bring the tables to this release, or change nothing. A server does so too when it starts."""
    click.echo(asyncio.run(_upgraded(*_database(file, data_dir))))


@db.command()
@FILE
@DATA_DIR
def check(file: Path | None, data_dir: Path | None) -> None:
    """Whether this release can use the database as it is; exit 1 if not."""
    click.echo(asyncio.run(_found(*_database(file, data_dir))))


def _database(file: Path | None, data_dir: Path | None) -> tuple[Database[Any], Path]:
    found, catalogue = checked(file)
    chosen = found.settings.db
    database = catalogue.create("db", chosen.use, chosen.tables, where=found.source("db", "use"))
    return database, (data_dir or found.settings.server.data_dir).resolve()


async def _upgraded(database: Database[Any], data_dir: Path) -> str:
    """Without the lease, which a server of a shared database would lose by it."""
    lock = DirectoryLock.take(data_dir)
    engine = database.engine(data_dir)
    name = described(engine.url)
    try:
        with translated(name):
            async with engine.begin() as connection:
                before = await connection.run_sync(migrations.revision)
                await connection.run_sync(migrations.upgrade, rules_version=VERSION)
    finally:
        await engine.dispose()
        lock.release()
    return f"{name}: {before or 'empty'} → {migrations.head()}" if before != migrations.head() else _ok(name)


async def _found(database: Database[Any], data_dir: Path) -> str:
    try:
        store = await Store.open_read_only(database, data_dir, rules_version=VERSION)
    except Locked as error:
        who = f" (REST at {error.admin})" if error.admin else ""
        raise FedkError(
            f"{data_dir} is in use by a server{who}: its release uses the database. Stop it, or check a copy: --data-dir"
        ) from error
    await store.close()
    return _ok(store.name)


def _ok(name: str) -> str:
    return f"{name}: revision {migrations.head()}, which is this release's"
