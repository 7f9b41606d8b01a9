"""A shelf that outlives the process and a power cut: `--state DIR`.

DIR/PROJECT/NAME/outbox/ID.blobs, ID.state, ID.json (the result counts once its .json is there); states/SESSION
"""

import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from fedk_client.errors import StateError
from fedk_client.kept import Body, Kept

log = logging.getLogger("fedk_client")


class Disk:
    """Everything is written beside its place, synced, and then renamed."""

    slow = True

    def __init__(self, root: Path, *, project: str, name: str) -> None:
        own = root / _word(project) / _word(name)  # two clients may be given one directory
        self._root, self._outbox, self._states = root, own / "outbox", own / "states"
        with self._named():
            for folder in (self._outbox, self._states):
                folder.mkdir(parents=True, exist_ok=True)

    def write(self, result_id: str, chunks: Iterable[bytes | memoryview]) -> Body:
        path = self._outbox / f"{result_id}.blobs"
        try:
            _write(path, chunks)
        except Exception:
            path.unlink(missing_ok=True)  # or a disk that is full stays full
            raise
        return File(path)

    def keep(self, kept: Kept, state: bytes) -> None:
        _write(self._path(kept, "state"), [state])
        _replace(self._path(kept, "json"), kept.to_json().encode())

    def crowded(self, kept: int) -> str:
        held = kept + sum(path.stat().st_size for path in self._states.iterdir())
        free = shutil.disk_usage(self._states).free
        return (
            ""
            if held <= free
            else f"{held:,} bytes, and the disk has {free:,} more: make room at {self._states.parent}"
        )

    def load(self) -> list[Kept]:
        found = [kept for path in self._outbox.glob("*.json") if (kept := self._load(path))]
        self._sweep({kept.result_id for kept in found})
        return sorted(found, key=lambda kept: (kept.round, kept.number))

    def promote(self, kept: Kept) -> None:
        state = self._path(kept, "state")
        with self._named():
            if state.exists():
                state.replace(self._states / _word(kept.session))
                _sync(self._states)

    def forfeit(self, kept: Kept) -> None:
        self._path(kept, "state").unlink(missing_ok=True)

    def drop(self, kept: Kept) -> None:
        with self._named():
            for suffix in ("json", "new", "state", "blobs"):  # what makes it count goes first
                self._path(kept, suffix).unlink(missing_ok=True)

    def state(self, session: str) -> bytes:
        path = self._states / _word(session)
        return path.read_bytes() if path.exists() else b""

    def _load(self, path: Path) -> Kept | None:
        blobs = path.with_suffix(".blobs")
        try:
            kept = Kept.from_json(path.read_text(), File(blobs))
            if blobs.stat().st_size == kept.size:
                return kept
            reason = f"{blobs.name} is not {kept.size} bytes"
        except (OSError, ValueError) as error:
            reason = str(error)
        log.warning("kept result %s is damaged and dropped: %s", path.stem, reason)
        return None

    def _sweep(self, whole: set[str]) -> None:
        for path in self._outbox.iterdir():
            if path.name.partition(".")[0] not in whole:
                path.unlink()

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StateError(f"state directory {self._root} cannot be used: {error}") from error

    def _path(self, kept: Kept, suffix: str) -> Path:
        return self._outbox / f"{kept.result_id}.{suffix}"


class File:
    """A body on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, offset: int, size: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(offset)
            return file.read(size)


def _word(text: str) -> str:
    # "=" so that no name is "." or "..", or ends as one of ours
    return f"{quote(text, safe='')}="


def _write(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    with path.open("wb") as file:
        file.writelines(chunks)
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, data: bytes) -> None:
    beside = path.with_suffix(".new")
    _write(beside, [data])
    beside.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows opens no directory, and renames durably by itself
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
