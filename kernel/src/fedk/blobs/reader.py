"""Bytes of a local file, read where they are wanted."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from threading import Lock
from typing import Self

from fedk.api.errors import BlobError
from fedk.blobs import mark


@dataclass(slots=True, eq=False)
class Held:
    """Bytes that are in memory until they are in their file, from `offset` on."""

    offset: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of a local file, or that will be there."""

    path: str
    offset: int
    size: int
    held: Held | None = field(default=None, compare=False, repr=False)

    def part(self, offset: int, size: int) -> "Span":
        """Of its bytes those from `offset` on."""
        return Span(self.path, self.offset + offset, size, self.held)

    @property
    def memory(self) -> memoryview | None:
        """The bytes, while they are not in the file."""
        data = self.held.data if self.held is not None else None
        if self.held is None or data is None:
            return None
        start = self.offset - self.held.offset
        return memoryview(data)[start : start + self.size]


class Reader:
    """A span open for reading; positions count from its start. Any number of threads may read at once.

    pread, not a memory map: a file that has become shorter is a BlobError here, and would be SIGBUS there.
    """

    def __init__(self, span: Span) -> None:
        self.span = span
        self.size = span.size
        self._file: FileIO | None = None
        self._lock, self._reading, self._closed = Lock(), 0, False
        self._memory = span.memory
        self.version = 0, 0
        """Of its file: another one once that is replaced, or written anew."""
        if self._memory is not None:
            return
        try:
            self._file = FileIO(span.path)
            if span.path.endswith(mark.UPLOAD):
                mark.reads(self._file.fileno(), span.path)
        except OSError as error:
            self.close()
            raise BlobError(f"model bytes cannot be read: {span.path}: {error.strerror}") from error
        status = os.fstat(self._file.fileno())
        self.version = status.st_ino, status.st_mtime_ns
        if status.st_size < span.offset + span.size:
            self.close()
            raise self._truncated()

    def read_into(self, at: int, buffer: memoryview) -> None:
        """Fill `buffer` (contiguous bytes) from position `at`."""
        view = buffer.cast("B") if buffer.format != "B" or buffer.ndim != 1 else buffer
        self._check(at, view.nbytes)
        if (memory := self._memory) is not None:
            view[:] = memory[at : at + view.nbytes]
            return
        position = self.span.offset + at
        while view.nbytes:
            got = self._pread(view, position)
            if not got:
                raise self._truncated()
            view, position = view[got:], position + got

    def read(self, at: int, n: int) -> bytes:
        """`n` bytes from position `at`."""
        self._check(at, n)
        if (memory := self._memory) is not None:
            return bytes(memory[at : at + n])
        with self._handle() as handle:
            data = os.pread(handle, n, self.span.offset + at)
        if len(data) == n:
            return data
        rest = bytearray(n - len(data))  # a read may stop early
        self.read_into(at + len(data), memoryview(rest))
        return data + rest

    def close(self) -> None:
        """Whoever reads it just now comes to the end of that."""
        self._memory = None
        with self._lock:
            self._closed = True
            self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self, at: int, n: int) -> None:
        if at < 0 or at + n > self.size:
            raise ValueError(f"{n:,} bytes at {at:,} are beyond the span's {self.size:,}")

    def _pread(self, view: memoryview, position: int) -> int:
        with self._handle() as handle:
            return os.preadv(handle, [view], position)

    @contextmanager
    def _handle(self) -> Iterator[int]:
        """The file's, as long as it is used: the number of one that is closed is the next one's that is opened."""
        with self._lock:
            if self._file is None or self._closed:
                raise ValueError("this reader is closed")
            self._reading += 1
        try:
            yield self._file.fileno()
        except OSError as error:
            raise BlobError(f"model bytes cannot be read: {self.span.path}: {error.strerror}") from error
        finally:
            with self._lock:
                self._reading -= 1
                self._let_go()

    def _let_go(self) -> None:
        if self._file is not None and self._closed and not self._reading:
            self._file.close()

    def _truncated(self) -> BlobError:
        end = self.span.offset + self.span.size
        return BlobError(f"model bytes are truncated: {self.span.path} ends before byte {end:,}. Restore the file")
