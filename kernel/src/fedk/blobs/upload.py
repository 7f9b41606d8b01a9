"""A large result on its way in: a file of its own that can be filled in several goes."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from threading import Lock

from fedk.api.errors import Refused, StateError
from fedk.blobs import disk, mark
from fedk.blobs.disk import Bytes
from fedk.blobs.reader import Span


@dataclass(frozen=True, slots=True)
class Ledger:
    """What an upload tells its spool."""

    complete: Callable[[str], None]
    synced: Callable[[str], None]
    removed: Callable[[str], None]
    failure: Callable[[str, OSError], Exception]


class Upload:
    """Blocking but for `sync`. One writer: when the same upload is opened again, the older handle is closed for good."""

    def __init__(self, path: Path, size: int, ledger: Ledger, *, whole: bool = False) -> None:
        self.size = size
        self._path, self._ledger, self._lock = path, ledger, Lock()
        self._file = FileIO(str(path), "r+")
        self.got, self._over = mark.progress(self._file.fileno(), size, whole=whole)
        """Bytes that the file has: where to go on. Short of a power cut they are the bytes that were written."""
        if not (self.got or self._over):  # what stands there is nothing of it
            self._file.truncate(0)
        self._ahead = disk.Ahead(self.got)

    @property
    def span(self) -> Span:
        """The whole result, once `got` is `size`."""
        return Span(str(self._path), 0, self.size)

    def write(self, data: Bytes) -> None:
        """The next bytes, at `got`."""
        with self._lock:
            count = memoryview(data).nbytes
            self._admit(count)
            try:
                disk.write_at(self._file.fileno(), data, self.got)
                if self._over:
                    mark.put(self._file.fileno(), self.size, self.got + count)
            except OSError as error:
                raise self._ledger.failure(str(self._path), error) from error
            self.got += count
            self._ahead.written(self._path, self.got)
        if self.got == self.size:  # outside the lock: the spool takes its own first
            self._ledger.complete(str(self._path))

    async def sync(self) -> None:
        """What is written so far survives a power cut."""
        await asyncio.to_thread(self._sync)

    def discard(self) -> None:
        """Delete the file and free its reservation: its bytes were wrong."""
        self.close()
        self._ledger.removed(str(self._path))

    def close(self) -> None:
        """Keep the file for going on later."""
        with self._lock:
            self._file.close()

    def _admit(self, count: int) -> None:
        if self._file.closed:
            raise Refused("cancelled", "this upload was opened again on another connection, or its task is settled")
        if self.got + count > self.size:
            raise Refused("too-large", f"more bytes than the {self.size:,} that were announced")

    def _sync(self) -> None:
        try:
            for path in (self._path, *self._path.parents[:3]):  # session, project, spool
                disk.sync(path)
        except OSError as error:
            self.discard()  # after a failed fsync nobody knows what the disk has
            raise StateError(
                f"{self._path} cannot be made durable: {error.strerror}. Look at the disk; the client sends it again"
            ) from error
        self._ledger.synced(str(self._path))
