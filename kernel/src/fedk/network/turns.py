"""Turns: one result of a task at a time, so that a result sent twice cannot be taken twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


class Turn:
    """A result on its way in."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.superseded = False
        self._reading: asyncio.Task[Any] | None = None

    def read(self, reading: "asyncio.Task[Any]") -> None:
        """From now on it reads a stream, which may be cut."""
        self._reading = reading
        if self.superseded:
            reading.cancel()

    def give_way(self) -> None:
        """The client sends again, so what still reads an older stream reads in vain."""
        self.superseded = True
        if self._reading is not None:
            self._reading.cancel()


class Turns:
    """By task."""

    def __init__(self) -> None:
        self._turns: dict[str, Turn] = {}

    def give_way(self, task: str) -> None:
        """Cut what reads a result of this task."""
        if (turn := self._turns.get(task)) is not None:
            turn.give_way()

    @asynccontextmanager
    async def take(self, task: str) -> AsyncIterator[Turn]:
        """The latest goes first; one whose bytes are all here is finished before."""
        while (other := self._turns.get(task)) is not None:
            other.give_way()
            await other.over.wait()
        self.begin(task)
        try:
            yield self._turns[task]
        finally:
            self.end(task)

    def begin(self, task: str) -> bool:
        """False: somebody has a turn with it. True: it is the caller's to `end`."""
        if task in self._turns:
            return False
        self._turns[task] = Turn()
        return True

    def end(self, task: str) -> None:
        """The next one may begin."""
        self._turns.pop(task).over.set()
