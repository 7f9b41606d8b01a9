"""Holds: what keeps a blob where it is while no row names it yet. A writer has one from its first byte to its commit."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from typing import Self

from fedk.blobs.part import Part

Key = tuple[str, bytes]
"""Project and SHA-256."""


class Holds:
    """Which blobs somebody holds, and which are about to be erased. Any thread may ask; holding comes first.

    Between the look at the rows that nobody needs a blob and the deletion of its bytes a writer may come by with the
    same bytes: `take` calls the deletion off, or, where it is under way, waits for its end: then it writes anew.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._held: Counter[Key] = Counter()
        self._leaving: set[Key] = set()
        self._erasing: set[Key] = set()

    def take(self, key: Key) -> None:
        with self._changed:
            self._leaving.discard(key)
            self._changed.wait_for(lambda: key not in self._erasing)  # woken by the end of a deletion, not by the clock
            self._held[key] += 1

    def drop(self, key: Key) -> None:
        with self._changed:
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key]

    def leave(self, key: Key) -> bool:
        """Announce that it may be erased, before the rows are asked; False where somebody holds it."""
        with self._changed:
            if self._held[key]:
                return False
            self._leaving.add(key)
            return True

    @contextmanager
    def erasing(self, key: Key) -> Iterator[bool]:
        """Around the deletion of its bytes; False where somebody has taken it since `leave`: they must stay."""
        with self._changed:
            free = key in self._leaving
            self._leaving.discard(key)
            if free:
                self._erasing.add(key)
        try:
            yield free
        finally:
            with self._changed:
                self._erasing.discard(key)
                self._changed.notify_all()


class Hold:
    """One writer's. Any thread; to be closed whatever happens."""

    def __init__(self, holds: Holds, begin: Callable[[str, "Hold"], Part]) -> None:
        self._holds, self._begin = holds, begin
        self._keys: list[Key] = []
        self._notes: list[Path] = []

    def part(self, project: str) -> Part:
        """A new blob to write, in a worker thread. Once sealed it is held."""
        return self._begin(project, self)

    def take(self, project: str, sha256: bytes) -> None:
        """Hold a blob that is there already. Blocking, for the time of a deletion at most."""
        self._holds.take((project, sha256))
        self._keys.append((project, sha256))

    def noted(self, note: Path) -> None:
        """A part is sealed: its note stays until rows name the blob."""
        self._notes.append(note)

    def settle(self) -> None:
        """Rows name what was written."""
        for note in self._notes:
            note.unlink(missing_ok=True)
        self._notes.clear()
        self.close()

    def close(self) -> None:
        """Let go. What no row names is found by its note when the server starts again."""
        keys, self._keys = self._keys, []
        for key in keys:
            self._holds.drop(key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
