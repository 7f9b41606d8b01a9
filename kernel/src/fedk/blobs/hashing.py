"""Hashing behind: of a large blob in a second thread, while the first one makes and writes the bytes that come next."""

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor

PIECE = 2**20
"""Bytes that are handed over at a time; so many of a blob are hashed where they are, and two pieces wait at most."""

_THREADS = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="fedk-hash")


class Behind:
    """SHA-256. For one thread at a time."""

    def __init__(self) -> None:
        self._hash, self._size, self._at = hashlib.sha256(), 0, 0
        self._room = self._other = memoryview(b"")
        self._pending: Future[None] | None = None

    def update(self, data: memoryview) -> None:
        """The next bytes; they may change afterwards."""
        if self._size < PIECE:
            self._hash.update(data)
        else:
            self._collect(data)
        self._size += data.nbytes

    def digest(self) -> bytes:
        """Of all bytes so far."""
        self._wait()
        self._hash.update(self._room[: self._at])
        self._at = 0
        return self._hash.digest()

    def _collect(self, data: memoryview) -> None:
        if not self._room:
            self._room, self._other = memoryview(bytearray(PIECE)), memoryview(bytearray(PIECE))
        while data:
            part = data[: PIECE - self._at]
            self._room[self._at : self._at + len(part)] = part
            data, self._at = data[len(part) :], self._at + len(part)
            if self._at == PIECE:
                self._hand_over()

    def _hand_over(self) -> None:
        self._wait()
        self._pending = _THREADS.submit(self._hash.update, self._room)
        self._room, self._other, self._at = self._other, self._room, 0

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None
