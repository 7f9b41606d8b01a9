"""A blob on its way into the storage."""

import hashlib
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from fedk.api.errors import StateError
from fedk.blobs import disk
from fedk.blobs.bucket import Bucket
from fedk.blobs.cache import Cache, Copy
from fedk.blobs.disk import Bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """A blob that is durable."""

    sha256: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where parts go: the storage, notes about unfinished ones, and the copy here of a storage that is elsewhere."""

    bucket: Bucket
    notes: Path
    cache: Cache | None

    def sweep(self) -> None:
        """Delete the parts that a process before this one left behind."""
        with disk.writing(self.notes):
            self.notes.mkdir(parents=True, exist_ok=True)
            for note in self.notes.iterdir():
                if path := note.read_text():  # empty: the process ended before it wrote
                    self.bucket.remove(path)
                note.unlink()


class Part:
    """Hashed as it is written, visible under its hash once sealed. Blocking, for worker threads."""

    def __init__(self, shelf: Callable[[], Shelf], project: str, sealed: Callable[[str, Stored], None]) -> None:
        self._get_shelf, self._project, self._sealed = shelf, project, sealed
        self._name = secrets.token_hex(8)
        self._hash, self._size = hashlib.sha256(), 0
        self._file: BinaryIO | None = None
        self._copy: Copy | None = None
        self._over = False

    def write(self, data: Bytes) -> None:
        """The next bytes. StateError when the storage fails."""
        file = self._open()
        view = memoryview(data).cast("B")
        self._hash.update(view)
        self._size += view.nbytes
        with self._shelf.bucket.writing(self._path):
            file.write(view)
        if self._copy is not None:
            self._copy.write(view)

    def seal(self) -> Stored:
        """Durable and wholly visible when this returns, or not at all. Identical blobs are stored once: the
        newer bytes take the place of the older, so that a damaged blob is healed by storing it again.
        """
        file = self._open()
        stored = Stored(self._hash.digest(), self._size)
        with self._shelf.bucket.writing(self._path):
            file.close()
        self._shelf.bucket.seal(self._path, self._shelf.bucket.path(self._project, stored.sha256))
        self._over = True
        if self._copy is not None:
            self._copy.keep(self._project, stored.sha256)
        self._note.unlink(missing_ok=True)
        self._sealed(self._project, stored)
        return stored

    def abandon(self) -> None:
        """Leave nothing behind; what cannot be deleted now goes when the server starts again."""
        if self._over or self._file is None:
            return
        self._over = True
        with suppress(StateError), self._shelf.bucket.writing(self._path):
            self._file.close()
        with suppress(StateError):
            self._shelf.bucket.remove(self._path)
            self._note.unlink(missing_ok=True)
        if self._copy is not None:
            self._copy.drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()

    def _open(self) -> BinaryIO:
        if self._over:
            raise ValueError("this part is sealed or abandoned")
        if self._file is None:
            self._shelf = self._get_shelf()
            self._path = self._shelf.bucket.part(self._project, self._name)
            self._note = self._shelf.notes / self._name
            with disk.writing(self._note):
                self._note.write_text(self._path)
            self._file = self._shelf.bucket.create(self._path)
            self._copy = self._shelf.cache.copy() if self._shelf.cache is not None else None
        return self._file
