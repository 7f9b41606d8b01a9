"""A blob on its way into the storage."""

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, Self

from fedk.api.errors import StateError
from fedk.blobs import disk
from fedk.blobs.behind import Behind
from fedk.blobs.bucket import Bucket
from fedk.blobs.cache import Cache, Copy
from fedk.blobs.disk import Bytes

DIGITS = 64
"""Of a SHA-256 in hex."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A blob that is durable."""

    sha256: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where parts go: the storage, and the copy here of one that is elsewhere. A note says of each, until rows name it,
    in which project it is, and which SHA-256 it has once that is known.
    """

    bucket: Bucket
    notes: Path
    cache: Cache | None

    def sweep(self) -> dict[Path, tuple[str, bytes]]:
        """Delete the parts that a process before this one left behind. Answers, by their notes, the blobs (project,
        SHA-256) that it sealed, or was about to, and of which it did not note that rows name them.
        """
        sealed = {}
        with disk.writing(self.notes):
            self.notes.mkdir(parents=True, exist_ok=True)
            for note in self.notes.iterdir():
                project, _, sha256 = note.read_text().partition("\n")
                if project:  # none: the process ended before it wrote
                    self.bucket.remove(self.bucket.part(project, note.name))
                if len(sha256) == DIGITS:
                    sealed[note] = project, bytes.fromhex(sha256)
                else:
                    note.unlink()
        return sealed


class Holder(Protocol):
    """Who writes parts, from the first byte until rows name the blobs."""

    def take(self, project: str, sha256: bytes) -> None:
        """The blob is not erased from now on; where that is under way, this returns when it is over."""

    def noted(self, note: Path) -> None:
        """It is sealed. Its note is to stay until rows name it."""


class Part:
    """Hashed as it is written, visible under its hash once sealed. Blocking, for worker threads."""

    def __init__(
        self, shelf: Callable[[], Shelf], project: str, holder: Holder, sealed: Callable[[str, Stored], None]
    ) -> None:
        self._get_shelf, self._project, self._holder, self._sealed = shelf, project, holder, sealed
        self._name = secrets.token_hex(8)
        self._behind, self._ahead = Behind(self._put), disk.Ahead()
        self._size = self._written = 0
        self._file: BinaryIO | None = None
        self._copy: Copy | None = None
        self._over = False

    def write(self, data: Bytes) -> None:
        """The next bytes. StateError when the storage fails, or has failed with earlier ones."""
        self._open()
        view = memoryview(data).cast("B")
        self._size += view.nbytes
        self._behind.update(view)

    def seal(self) -> Stored:
        """Durable and wholly visible when this returns, or not at all. Identical blobs are stored once: the
        newer bytes take the place of the older, so that a damaged blob is healed by storing it again. Held from now on.
        """
        file = self._open()
        stored = Stored(self._behind.digest(), self._size)
        with self._shelf.bucket.writing(self._path):
            file.close()
        with disk.writing(self._note), self._note.open("a") as note:
            note.write(f"\n{stored.sha256.hex()}")
        self._holder.take(self._project, stored.sha256)
        self._shelf.bucket.seal(self._path, self._shelf.bucket.path(self._project, stored.sha256))
        self._over = True
        self._holder.noted(self._note)
        if self._copy is not None:
            self._copy.keep(self._project, stored.sha256)
        self._sealed(self._project, stored)
        return stored

    def abandon(self) -> None:
        """Leave nothing behind; what cannot be deleted now goes when the server starts again."""
        if self._over or self._file is None:
            return
        self._over = True
        self._behind.end()
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

    def _put(self, data: memoryview) -> None:
        """In whichever thread."""
        file = self._open()
        with self._shelf.bucket.writing(self._path):
            file.write(data)
            self._written += data.nbytes
            if self._shelf.bucket.storage.local:
                self._ahead.written(self._path, self._written)
        if self._copy is not None:
            self._copy.write(data)

    def _open(self) -> BinaryIO:
        if self._over:
            raise ValueError("this part is sealed or abandoned")
        if self._file is None:
            self._shelf = self._get_shelf()
            self._path = self._shelf.bucket.part(self._project, self._name)
            self._note = self._shelf.notes / self._name
            with disk.writing(self._note):
                self._note.write_text(self._project)
            self._file = self._shelf.bucket.create(self._path)
            self._copy = self._shelf.cache.copy() if self._shelf.cache is not None else None
        return self._file
