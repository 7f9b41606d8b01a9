"""Spares: files of results that are settled, to be written over by results of the same size.

A file's pages are in memory once it was written. Where they are given back and found again for each result, a host that
takes back what is free makes 100 MB cost 0.03 to 0.8 s of processor time; to write over them costs 0.01 s. They are worth
keeping from the same size on as rooms of memory, and for as long.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedk.blobs import mark
from fedk_protocol.rooms import LEAST, REST


@dataclass(frozen=True, slots=True)
class _Spare:
    path: Path
    size: int
    since: float


class Spares:
    """Any thread may call. There are never more than were in use within the last 20 s."""

    def __init__(self, delete: Callable[[Path], object]) -> None:
        self._delete = delete
        self._spares: list[_Spare] = []
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._closed = False

    def put(self, path: Path, size: int) -> None:
        """A file that nobody needs, whose first `size` bytes are a result's; a small one is deleted. Blocking."""
        kept = size >= LEAST and not self._closed and _marked(path, size)
        with self._lock:
            if kept and not self._closed:
                self._spares.append(_Spare(path, size, time.monotonic()))
                self._begin()
                return
        path.unlink(missing_ok=True)

    def take(self, size: int, path: Path) -> bool:
        """Whether `path` is now a file of so many bytes, to be written over. OSError where it cannot be."""
        with self._lock:
            fitting = [one for one in reversed(self._spares) if one.size == size]
            spare = next((one for one in fitting if not _is_read(one.path)), None)
            if spare is None:
                return False
            self._spares.remove(spare)
        try:
            spare.path.rename(path)
        except OSError:
            self._delete(spare.path)
            raise
        return True

    def trim(self) -> None:
        """Delete those that have waited for `REST`."""
        with self._lock:
            self._timer = None
            self._drop(time.monotonic() - REST)
            if self._spares:
                self._begin()

    def clear(self) -> None:
        """Delete all: their room is needed."""
        with self._lock:
            self._drop(time.monotonic())

    def close(self) -> None:
        """Delete all, and those to come."""
        with self._lock:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
            self._drop(time.monotonic())

    def _begin(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(REST, self.trim)
            self._timer.daemon = True
            self._timer.start()

    def _drop(self, until: float) -> None:
        for spare in [one for one in self._spares if one.since <= until]:
            self._spares.remove(spare)
            self._delete(spare.path)


def _marked(path: Path, size: int) -> bool:
    """Whether it is, before it gets another name."""
    try:
        with path.open("r+b", buffering=0) as file:
            mark.put(file.fileno(), size, 0)
    except OSError:
        return False
    return True


def _is_read(path: Path) -> bool:
    """As a fold may whose session has ended; also where somebody has tidied up."""
    try:
        with path.open("r+b", buffering=0) as file:
            return mark.is_read(file.fileno())
    except OSError:
        return True
