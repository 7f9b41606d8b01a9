"""Rows in one SQLite file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import Field

from fedk.api.config import Config, Duration
from fedk.api.db import Database
from fedk.api.errors import StateError

if TYPE_CHECKING:  # 0.4 s, and the catalogue imports this module to list it
    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["Sqlite", "SqliteConfig"]


class SqliteConfig(Config):
    path: str = Field("fedk.sqlite", min_length=1, description="the file; a relative one is in the data_dir")
    busy_timeout: Duration = Field(5.0, ge=0, description="how long a transaction waits for another process's")


class Sqlite(Database[SqliteConfig]):
    """Readers and one writer at a time (WAL); a commit is on the disk (FULL); a failed transaction undoes DDL too."""

    _last: "_File | None" = None

    def engine(self, data_dir: Path, *, read_only: bool = False) -> "AsyncEngine":
        from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415  # as above

        file = self._file(data_dir, anew=not read_only)
        url = self._url("aiosqlite", file, read_only=read_only)
        engine = create_async_engine(url, connect_args={"timeout": self.config.busy_timeout})
        _prepare(engine.sync_engine, file, read_only=read_only)
        return engine

    def blocking(self, data_dir: Path) -> "Engine":
        from sqlalchemy import create_engine  # noqa: PLC0415  # as above

        file = self._file(data_dir)
        url = self._url("pysqlite", file, read_only=False)
        engine = create_engine(url, connect_args={"timeout": self.config.busy_timeout})
        _prepare(engine, file, read_only=False)
        return engine

    def _url(self, driver: str, file: "_File", *, read_only: bool) -> "URL":
        from sqlalchemy import URL  # noqa: PLC0415  # as above

        query = {"mode": "ro" if read_only else "rwc", "uri": "true"}
        return URL.create(f"sqlite+{driver}", database=f"file:{quote(str(file.path))}", query=query)

    def _file(self, data_dir: Path, *, anew: bool = False) -> "_File":
        """The same for all engines of a start, which opens one that writes first."""
        path = (data_dir / Path(self.config.path).expanduser()).resolve()
        if anew or self._last is None or self._last.path != path:
            self._last = _File(path)
        return self._last


class _File:
    """The one that was opened. SQLite goes on writing to a file that was deleted, and nobody finds that again."""

    def __init__(self, path: Path) -> None:
        self.path, self._first = path, ""

    def opened(self, *_: object) -> None:
        self._first = self._first or self._found()

    def check(self, *_: object) -> None:
        """StateError where the path has no file any more, or another one."""
        if self._first and self._found() != self._first:
            raise StateError(
                f"database {self.path} was deleted or replaced while it is in use: nothing more is written. "
                "Put that very file back, or start anew with what is there"
            )

    def _found(self) -> str:
        try:
            stat = self.path.stat()
        except OSError:
            return ""
        return f"{stat.st_dev}:{stat.st_ino}"


def _prepare(engine: "Engine", file: _File, *, read_only: bool) -> None:
    from sqlalchemy import event  # noqa: PLC0415  # as above

    event.listen(engine, "do_connect", file.check)  # else it would make an empty one
    event.listen(engine, "connect", _reader if read_only else _writer)
    event.listen(engine, "connect", file.opened)
    event.listen(engine, "begin", file.check)
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
