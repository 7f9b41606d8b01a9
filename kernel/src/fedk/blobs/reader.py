"""Bytes of a local file, read where they are wanted."""

import os
from dataclasses import dataclass
from io import FileIO
from typing import Self

from fedk.api.errors import BlobError


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of a local file."""

    path: str
    offset: int
    size: int


class Reader:
    """A span open for reading; positions count from its start. Any number of threads may read at once.

    pread, not a memory map: a file that has become shorter is a BlobError here, and would be SIGBUS there.
    """

    def __init__(self, span: Span) -> None:
        self.span = span
        self.size = span.size
        try:
            self._file = FileIO(span.path)
        except OSError as error:
            raise BlobError(f"model bytes cannot be read: {span.path}: {error.strerror}") from error
        if os.fstat(self._file.fileno()).st_size < span.offset + span.size:
            self.close()
            raise self._truncated()

    def read_into(self, at: int, buffer: memoryview) -> None:
        """Fill `buffer` (contiguous bytes) from position `at`."""
        view = buffer.cast("B") if buffer.format != "B" or buffer.ndim != 1 else buffer
        if at < 0 or at + view.nbytes > self.size:
            raise ValueError(f"{view.nbytes:,} bytes at {at:,} are beyond the span's {self.size:,}")
        position = self.span.offset + at
        while view.nbytes:
            got = self._pread(view, position)
            if not got:
                raise self._truncated()
            view, position = view[got:], position + got

    def read(self, at: int, n: int) -> bytes:
        """`n` bytes from position `at`."""
        data = bytearray(n)
        self.read_into(at, memoryview(data))
        return bytes(data)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pread(self, view: memoryview, position: int) -> int:
        try:
            return os.preadv(self._file.fileno(), [view], position)
        except OSError as error:
            raise BlobError(f"model bytes cannot be read: {self.span.path}: {error.strerror}") from error

    def _truncated(self) -> BlobError:
        end = self.span.offset + self.span.size
        return BlobError(f"model bytes are truncated: {self.span.path} ends before byte {end:,}. Restore the file")
