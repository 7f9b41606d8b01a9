"""Copies here of blobs whose storage is elsewhere. Blocking."""

import os
import secrets
import time
from contextlib import suppress
from io import FileIO
from pathlib import Path
from threading import Lock

from fedk.blobs import disk
from fedk.blobs.disk import Bytes


class Cache:
    """Bounded: the copy that was asked for longest ago goes first, but never the newest.

    Not synced: after a power cut a copy may be torn, and its reader verifies it before the first use.
    """

    def __init__(self, root: Path, limit: int) -> None:
        self.root, self.limit = root.resolve(), limit
        self._lock = Lock()
        self._sizes: dict[Path, int] = {}  # the longest unused first
        with disk.writing(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            self._scan()

    def part(self) -> Path:
        """A new name for bytes on their way in."""
        return self.root / secrets.token_hex(8)

    def copy(self) -> "Copy":
        """For bytes that are written elsewhere at the same time."""
        return Copy(self)

    def keep(self, part: Path, project: str, sha256: bytes) -> Path:
        """Make the complete `part` the blob's copy, at once and wholly."""
        path = self._path(project, sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        size = part.stat().st_size
        part.replace(path)
        with self._lock:
            self._sizes.pop(path, None)
            self._sizes[path] = size
            self._evict()
        return path

    def find(self, project: str, sha256: bytes) -> Path | None:
        """The copy, which counts as used now."""
        path = self._path(project, sha256)
        with self._lock:
            size = self._sizes.pop(path, None)
            if size is None:
                return None
            with suppress(FileNotFoundError):
                _touch(path)
                self._sizes[path] = size
                return path
        return None

    def drop(self, project: str, sha256: bytes) -> None:
        path = self._path(project, sha256)
        with self._lock:
            self._sizes.pop(path, None)
            path.unlink(missing_ok=True)

    def _path(self, project: str, sha256: bytes) -> Path:
        return self.root / project / sha256.hex()

    def _scan(self) -> None:
        found = [(path.stat(), path) for path in self.root.rglob("*") if path.is_file()]
        for status, path in sorted(found, key=lambda item: item[0].st_atime_ns):
            if path.parent == self.root:  # a part that nobody finished
                path.unlink()
            else:
                self._sizes[path] = status.st_size

    def _evict(self) -> None:
        total = sum(self._sizes.values())
        for path in list(self._sizes)[:-1]:
            if total <= self.limit:
                return
            total -= self._sizes.pop(path)
            path.unlink(missing_ok=True)


class Copy:
    """A copy that is written beside the blob itself; a disk without space only ends the copy."""

    def __init__(self, cache: Cache) -> None:
        self._cache, self._path = cache, cache.part()
        self._file: FileIO | None = None
        with suppress(OSError):
            self._file = FileIO(str(self._path), "x")

    def write(self, data: Bytes) -> None:
        if self._file is not None:
            try:
                disk.write_at(self._file.fileno(), data, self._file.tell())
                self._file.seek(0, os.SEEK_END)
            except OSError:
                self.drop()

    def keep(self, project: str, sha256: bytes) -> None:
        if self._file is not None:
            self._file.close()
            with suppress(OSError):
                self._cache.keep(self._path, project, sha256)

    def drop(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._path.unlink(missing_ok=True)


def _touch(path: Path) -> None:
    """Used now, for the order after a restart; the time of writing stays."""
    os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
