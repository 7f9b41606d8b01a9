"""Files and directories that survive a power cut: writing says what to sync, syncing makes it last."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fedk.api.errors import StateError

Bytes = bytes | bytearray | memoryview

AHEAD = 8 * 2**20
"""Bytes of a large file after which the disk begins to write, so that its sync does not wait for all of them."""

_WRITE = 2  # SYNC_FILE_RANGE_WRITE of sync_file_range(2), which Python lacks
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)  # Linux with glibc
if _sync_file_range is not None:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def create(directory: Path) -> list[Path]:
    """Make `directory` and its missing parents; answers the directories whose sync makes the new names last."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    return [path.parent for path in missing]


def sync(path: Path) -> None:
    """What is written in this file, or the names in this directory, survive a power cut when this returns."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Ahead:
    """Lets the disk begin with what is written of one file, from `start` on; where the system cannot, nothing happens."""

    def __init__(self, start: int = 0) -> None:
        self._begun = start

    def written(self, path: Path | str, end: int) -> None:
        """All up to `end` is in the file. What goes wrong here is said when the file is synced."""
        if _sync_file_range is None or end - self._begun < AHEAD:
            return
        with suppress(OSError):  # as said above: a driver may write elsewhere first
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _sync_file_range(handle, self._begun, end - self._begun, _WRITE)
            finally:
                os.close(handle)
        self._begun = end


def write_at(handle: int, data: Bytes, position: int) -> None:
    """All of `data`: a single pwrite may stop early."""
    view = memoryview(data).cast("B")
    while view.nbytes:
        written = os.pwrite(handle, view, position)
        view, position = view[written:], position + written


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Around writes: an OSError becomes a StateError that names the path."""
    try:
        yield
    except OSError as error:
        raise failure(path, error) from error


def failure(path: Path | str, error: OSError) -> StateError:
    return StateError(f"{path} cannot be written: {error.strerror}. Look at the disk and its permissions")
