"""One server for a data directory."""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fedk.api.errors import StateError
from fedk.state.errors import Locked

NAME = "lock"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has the directory, in its own words; they may be missing while it starts."""

    pid: int | None
    admin: str

    def __str__(self) -> str:
        known = [f"process {self.pid}"] if self.pid is not None else []
        return ", ".join([*known, self.admin] if self.admin else known) or "another process"


class DirectoryLock:
    """Held until `release` or the end of the process, however that comes: nothing has to be cleaned up."""

    def __init__(self, data_dir: Path, handle: int) -> None:
        self.data_dir, self._handle = data_dir, handle

    @classmethod
    def take(cls, data_dir: Path) -> Self:
        """Make the directory where it is missing, and lock it. Locked when another process has it."""
        try:
            _create(data_dir)
            handle = os.open(data_dir / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            taken = _flock(handle, fcntl.LOCK_EX)
        except FileExistsError as error:
            raise StateError(
                f"data_dir {data_dir} is a file. Name a directory (server.data_dir, FEDK_SERVER__DATA_DIR)"
            ) from error
        except OSError as error:
            raise StateError(
                f"data_dir {data_dir} cannot be used: {error.strerror}: {error.filename or 'locking it'}. Make it "
                f"writable for user {os.getuid()}, or name another one (server.data_dir, FEDK_SERVER__DATA_DIR)"
            ) from error
        if not taken:
            holder = _read(handle)
            os.close(handle)
            raise Locked(
                f"data_dir {data_dir} is in use ({holder}): stop that server, or name another data_dir",
                admin=holder.admin,
            )
        lock = cls(data_dir, handle)
        lock.announce("")
        return lock

    @classmethod
    def check(cls, data_dir: Path) -> None:
        """For readers: Locked, with the address to ask, while a server has the directory."""
        try:
            handle = os.open(data_dir / NAME, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return  # no server has ever had it
        if _flock(handle, fcntl.LOCK_SH):
            os.close(handle)
            return
        holder = _read(handle)
        os.close(handle)
        ask = f"ask it: --url {holder.admin}" if holder.admin else "ask it with --url, or wait until it has started"
        raise Locked(f"data_dir {data_dir} is in use by a server ({holder}): {ask}", admin=holder.admin)

    def announce(self, admin: str) -> None:
        """Tell readers whom to ask: the URL of this server's REST."""
        words = json.dumps({"pid": os.getpid(), "admin": admin}).encode()
        os.pwrite(self._handle, words, 0)
        os.ftruncate(self._handle, len(words))

    def release(self) -> None:
        if self._handle >= 0:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = -1


def _create(data_dir: Path) -> None:
    """A commit in a directory whose own name is lost is lost: sync the names of what is, or may be, new."""
    missing = [path for path in data_dir.parents if not path.exists()]
    data_dir.mkdir(parents=True, exist_ok=True)
    for path in (data_dir, *missing):
        handle = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        os.fsync(handle)
        os.close(handle)


def _flock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        os.close(handle)
        raise
    return True


def _read(handle: int) -> Holder:
    try:
        words = json.loads(os.pread(handle, 4096, 0))
        return Holder(int(words["pid"]), str(words["admin"]))
    except (ValueError, KeyError, TypeError):  # it is writing just now
        return Holder(None, "")
