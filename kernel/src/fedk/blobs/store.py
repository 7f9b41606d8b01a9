"""Model bytes by their hash: written once, verified once in each process, read from local files."""

import asyncio
import hashlib
import os
from collections import OrderedDict
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from fedk.api.errors import BlobError
from fedk.api.storage import Storage
from fedk.blobs import disk
from fedk.blobs.bucket import Bucket, missing
from fedk.blobs.cache import Cache
from fedk.blobs.hold import Hold, Holds, Key
from fedk.blobs.part import Part, Shelf, Stored
from fedk.blobs.reader import Span

KNOWN = 65_536  # verified files to remember: about 20 MB


class Blobs:
    """All blobs of all projects. `cache_limit`: bytes of local copies when the storage is elsewhere."""

    def __init__(self, storage: Storage[Any], data_dir: Path, *, cache_limit: int = 8 * 2**30) -> None:
        self._storage, self._data_dir, self._cache_limit = storage, data_dir.resolve(), cache_limit
        self._lock = Lock()
        self._known: OrderedDict[Key, tuple[Span, int]] = OrderedDict()  # verified: where, and the file's mtime
        self._looking: dict[Key, asyncio.Task[Span]] = {}
        self._bucket: Bucket | None = None
        self._cache: Cache | None = None
        self._shelf: Shelf | None = None
        self._left: dict[Path, Key] = {}
        self._holds = Holds()

    async def start(self) -> None:
        """Connect. StateError where the storage cannot be used."""
        await asyncio.to_thread(self._connect)

    async def close(self) -> None:
        """Let what is being read come to its end."""
        await asyncio.gather(*self._looking.values(), return_exceptions=True)

    def hold(self) -> Hold:
        """For who writes blobs, or is about to name one in a row: what it holds is not erased."""
        return Hold(self._holds, self._part)

    async def put(self, project: str, data: bytes) -> Stored:
        """A blob from memory, which nobody holds: its caller has a row for it."""
        return await asyncio.to_thread(self._put, project, data)

    async def span(self, project: str, sha256: bytes) -> Span:
        """A local file with the blob: in place for local storage, else a copy that stays for a while: open it soon.

        Its hash is verified once in each process, and again when the file has changed. BlobError where it is missing
        or damaged.
        """
        key = project, sha256
        if (span := self._verified(key)) is not None:
            return span
        task = self._looking.get(key)
        if task is None:  # everyone who asks meanwhile shares one look
            task = self._looking[key] = asyncio.create_task(asyncio.to_thread(self._find, key))
            task.add_done_callback(partial(self._looked, key))
        return await asyncio.shield(task)

    def leave(self, project: str, sha256: bytes) -> bool:
        """Before the rows are asked whether they need a blob: False where somebody holds it, so that it has to stay."""
        return self._holds.leave((project, sha256))

    async def erase(self, project: str, sha256: bytes) -> bool:
        """After that: its bytes are gone, whether they were there or not. False where somebody has come to hold it."""
        return await asyncio.to_thread(self._erase, (project, sha256))

    async def leftovers(self) -> dict[Path, Key]:
        """What a process before this one has sealed without noting that rows name it, by its notes."""
        await asyncio.to_thread(self._open_shelf)
        return dict(self._left)

    async def looked_after(self, note: Path) -> None:
        """A leftover has its row, or is erased."""
        self._left.pop(note, None)
        await asyncio.to_thread(note.unlink, missing_ok=True)

    async def exists(self, project: str, sha256: bytes) -> bool:
        """Whether the storage has it; says nothing about its bytes."""
        bucket = self._connected()
        return await asyncio.to_thread(bucket.exists, bucket.path(project, sha256))

    def _looked(self, key: Key, task: asyncio.Task[Span]) -> None:
        del self._looking[key]
        if not task.cancelled():
            task.exception()  # whoever asked may be gone: asyncio would log it as lost

    def _connect(self) -> None:
        self._bucket = Bucket.connect(self._storage, self._data_dir)
        if not self._storage.local:
            self._cache = Cache(self._data_dir / "cache", self._cache_limit)

    def _connected(self) -> Bucket:
        if self._bucket is None:
            raise RuntimeError("Blobs.start comes first")
        return self._bucket

    def _open_shelf(self) -> Shelf:
        """At the first write, not at the start: who only reads must not touch a server's parts."""
        with self._lock:
            if self._shelf is None:
                shelf = Shelf(self._connected(), self._data_dir / "parts", self._cache)
                self._left = shelf.sweep()
                self._shelf = shelf
            return self._shelf

    def _put(self, project: str, data: bytes) -> Stored:
        with self.hold() as hold, hold.part(project) as part:
            part.write(data)
            stored = part.seal()
            hold.settle()
            return stored

    def _part(self, project: str, hold: Hold) -> Part:
        return Part(self._open_shelf, project, hold, self._sealed)

    def _sealed(self, project: str, stored: Stored) -> None:
        key = project, stored.sha256
        path = Path(self._connected().path(*key)) if self._cache is None else self._cache.find(*key)
        if path is not None:
            with suppress(FileNotFoundError):  # deleted meanwhile
                self._remember(key, path, path.stat())

    def _find(self, key: Key) -> Span:
        if self._cache is not None:
            return self._copied(key, self._cache)
        path = Path(self._connected().path(*key))
        return self._remember(key, path, self._verify(key, path))

    def _copied(self, key: Key, cache: Cache) -> Span:
        copy = cache.find(*key)
        if copy is not None:
            with suppress(BlobError):  # torn by a power cut, or gone
                return self._remember(key, copy, self._verify(key, copy))
        part = cache.part()
        try:
            self._connected().fetch(*key, part)
            status = self._verify(key, part)
            with disk.writing(cache.root):
                return self._remember(key, cache.keep(part, *key), status)
        finally:
            part.unlink(missing_ok=True)

    def _verify(self, key: Key, path: Path) -> os.stat_result:
        where = self._connected().path(*key)
        try:
            found, status = _sha256(path)
        except FileNotFoundError as error:
            raise missing(key[1], where) from error
        except OSError as error:
            raise BlobError(f"blob {key[1].hex()} cannot be read: {where}: {error.strerror}") from error
        if found != key[1]:
            raise BlobError(
                f"blob {key[1].hex()} is damaged: the bytes of {where} have the hash {found.hex()}. "
                "Restore it there from a backup, or put the same model again (fedk model put)"
            )
        return status

    def _remember(self, key: Key, path: Path, status: os.stat_result) -> Span:
        span = Span(str(path), 0, status.st_size)
        with self._lock:
            self._known[key] = span, status.st_mtime_ns
            if len(self._known) > KNOWN:
                self._known.popitem(last=False)
        return span

    def _verified(self, key: Key) -> Span | None:
        known = self._known.get(key)
        if known is None or not _unchanged(*known):
            return None
        if self._cache is not None:
            self._cache.find(*key)
        return known[0]

    def _erase(self, key: Key) -> bool:
        with self._holds.erasing(key) as free:
            if free:
                with self._lock:
                    self._known.pop(key, None)
                bucket = self._connected()
                bucket.remove(bucket.path(*key))
                if self._cache is not None:
                    self._cache.drop(*key)
            return free


def _unchanged(span: Span, modified: int) -> bool:
    try:
        status = Path(span.path).stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (span.size, modified)


def _sha256(path: Path) -> tuple[bytes, os.stat_result]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest(), os.fstat(file.fileno())
