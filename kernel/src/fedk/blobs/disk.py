"""Files and directories that survive a power cut: writing says what to sync, syncing makes it last."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedk.api.errors import StateError

Bytes = bytes | bytearray | memoryview


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
