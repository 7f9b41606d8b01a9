"""Rows in one SQLite file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import Field

from fedk.api.config import Config, Duration
from fedk.api.db import Database

if TYPE_CHECKING:  # 0.4 s, and the catalogue imports this module to list it
    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["Sqlite", "SqliteConfig"]


class SqliteConfig(Config):
    path: str = Field("fedk.sqlite", min_length=1, description="the file; a relative one is in the data_dir")
    busy_timeout: Duration = Field(5.0, ge=0, description="how long a transaction waits for another process's")


class Sqlite(Database[SqliteConfig]):
    """Readers and one writer at a time (WAL); a commit is on the disk (FULL); a failed transaction undoes DDL too."""

    def engine(self, data_dir: Path, *, read_only: bool = False) -> "AsyncEngine":
        from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415  # as above

        url = self._url("aiosqlite", data_dir, read_only=read_only)
        engine = create_async_engine(url, connect_args={"timeout": self.config.busy_timeout})
        _prepare(engine.sync_engine, read_only=read_only)
        return engine

    def blocking(self, data_dir: Path) -> "Engine":
        from sqlalchemy import create_engine  # noqa: PLC0415  # as above

        url = self._url("pysqlite", data_dir, read_only=False)
        engine = create_engine(url, connect_args={"timeout": self.config.busy_timeout})
        _prepare(engine, read_only=False)
        return engine

    def _url(self, driver: str, data_dir: Path, *, read_only: bool) -> "URL":
        from sqlalchemy import URL  # noqa: PLC0415  # as above

        path = (data_dir / Path(self.config.path).expanduser()).resolve()
        query = {"mode": "ro" if read_only else "rwc", "uri": "true"}
        return URL.create(f"sqlite+{driver}", database=f"file:{quote(str(path))}", query=query)


def _prepare(engine: "Engine", *, read_only: bool) -> None:
    from sqlalchemy import event  # noqa: PLC0415  # as above

    event.listen(engine, "connect", _reader if read_only else _writer)
    event.listen(engine, "begin", _begin_deferred if read_only else _begin_immediate)


def _reader(connection: Any, _: object) -> None:
    connection.isolation_level = None  # the driver's own BEGIN comes too late: it would leave out DDL


def _writer(connection: Any, _: object) -> None:
    _reader(connection, _)
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_deferred(connection: "Connection") -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: "Connection") -> None:
    """The lock to write at once: one asked for in mid-transaction fails without waiting when the snapshot is old."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
