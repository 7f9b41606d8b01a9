"""Databases: a driver gives an engine; the kernel owns tables and migrations."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from fedk.api.driver import C, Driver

if TYPE_CHECKING:  # 0.4 s of imports that no other family needs
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine


class Database(Driver[C], ABC):
    """An SQLAlchemy async engine, and what its dialect needs to be durable."""

    shared = False
    """True where several servers may use one database; otherwise a lock on the data directory guards it."""

    @abstractmethod
    def engine(self, data_dir: Path, *, read_only: bool = False) -> "AsyncEngine":
        """An engine whose commits survive power loss and whose transactions roll back DDL (where the database can)."""

    def blocking(self, data_dir: Path) -> "Engine | None":  # for those who have one
        """The engine that writes, without asyncio, for a database in this process: a statement there takes less than
        its way to a thread and back, so that whole transactions are handed to one. None: there is none.
        """
        return None
