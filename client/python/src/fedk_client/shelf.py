"""Where kept results and tasks' states stand: in memory, or in a directory (`disk.py`)."""

from collections.abc import Iterable
from typing import Protocol

from fedk_client.kept import Body, Kept
from fedk_client.memory import PHYSICAL
from fedk_protocol.rooms import LEAST, ROOMS

ROOM = PHYSICAL // 4
"""Bytes of results and states in memory."""


class Shelf(Protocol):
    """Bytes by result id, and one state for each session. One thread writes and keeps, while another one settles."""

    slow: bool
    """Whether its calls wait for a disk."""

    def write(self, result_id: str, chunks: Iterable[bytes | memoryview]) -> Body:
        """Take a result's body; it counts only once it is kept."""

    def keep(self, kept: Kept, state: bytes) -> None:
        """From here on the result, and the state that goes with it, outlive what this shelf outlives."""

    def crowded(self, kept: int) -> str:
        """Where `kept` bytes of results, and the states beside them, are as much as this should take: what to do."""

    def load(self) -> list[Kept]:
        """What an earlier process left, by round, and in the order in which it was kept."""

    def promote(self, kept: Kept) -> None:
        """The state that goes with this result is its session's now; again, or forfeited, changes nothing."""

    def forfeit(self, kept: Kept) -> None:
        """The state that goes with this result is not to be promoted any more."""

    def drop(self, kept: Kept) -> None:
        """Forget the result; again, or never kept, is no mistake."""

    def state(self, session: str) -> bytes:
        """What was promoted last; nothing is empty."""


class Memory:
    """Keeps as long as the process lives."""

    slow = False

    def __init__(self) -> None:
        self._pending: dict[str, bytes] = {}
        self._states: dict[str, bytes] = {}

    def write(self, result_id: str, chunks: Iterable[bytes | memoryview]) -> Body:
        pieces, at = list(chunks), 0
        size = sum(map(len, pieces))
        if size < LEAST:
            return Buffer(b"".join(pieces))
        room = ROOMS.of("results", size)
        for piece in pieces:
            room[at : at + len(piece)] = piece
            at += len(piece)
        return Buffer(room)

    def keep(self, kept: Kept, state: bytes) -> None:
        self._pending[kept.result_id] = state

    def crowded(self, kept: int) -> str:
        held = kept + sum(map(len, [*self._pending.values(), *self._states.values()]))
        return "" if held <= ROOM else f"{held:,} bytes of memory; a state directory would keep them on disk"

    def load(self) -> list[Kept]:
        return []

    def promote(self, kept: Kept) -> None:
        if kept.result_id in self._pending:
            self._states[kept.session] = self._pending.pop(kept.result_id)

    def forfeit(self, kept: Kept) -> None:
        self._pending.pop(kept.result_id, None)

    drop = forfeit  # the bytes go with the result that holds them

    def state(self, session: str) -> bytes:
        return self._states.get(session, b"")


class Buffer:
    """A body in memory."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data

    def read(self, offset: int, size: int) -> bytes | memoryview:
        whole = size == len(self._data)  # as most are read: without a copy of it
        return self._data if whole and not offset else memoryview(self._data)[offset : offset + size]
