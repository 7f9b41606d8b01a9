"""Behind: a large blob is hashed and written by a second thread, while the first one makes the bytes that come next."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

PIECE = 2**20
"""Bytes that are handed over at a time; so many of a blob are passed on where they are, and two pieces wait at most."""

_THREADS = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="fedk-hash")


class Behind:
    """SHA-256 of the bytes that `write` gets, in order. For one thread at a time, and `write` is called by one at a time."""

    def __init__(self, write: Callable[[memoryview], None]) -> None:
        self._hash, self._write = hashlib.sha256(), write
        self._size, self._at = 0, 0
        self._room = self._other = memoryview(b"")
        self._pending: Future[None] | None = None

    def update(self, data: memoryview) -> None:
        """The next bytes; they may change afterwards. Raises what `write` raised, of these or of earlier ones."""
        if self._size < PIECE:
            self._pass(data)
        else:
            self._collect(data)
        self._size += data.nbytes

    def digest(self) -> bytes:
        """Of all bytes so far, which are written. Raises as `update` does."""
        self._wait()
        rest, self._at = self._room[: self._at], 0
        if rest:
            self._pass(rest)
        return self._hash.digest()

    def end(self) -> None:
        """Nothing is under way when this returns; what went wrong interests nobody any more."""
        with suppress(Exception):
            self._wait()

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
        self._pending = _THREADS.submit(self._pass, self._room)
        self._room, self._other, self._at = self._other, self._room, 0

    def _pass(self, data: memoryview) -> None:
        self._hash.update(data)
        self._write(data)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()  # one that failed stays: each call raises it
            self._pending = None
