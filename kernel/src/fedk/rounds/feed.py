"""The feed: events as they were committed, to whoever listens in this process."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fedk.aggregation.record import record

BACKLOG = 10_000
"""Events that a slow listener may be behind before it is cut off; it goes on from its last sequence number."""


@record(frozen=True, slots=True)
class Published:
    """An entry of the event log. `seq` is 0 for what is not kept: progress and log lines of clients."""

    seq: int
    project: str
    session: str | None
    type: str
    body: Mapping[str, Any]
    at: float  # seconds since the epoch


class Listener:
    """One reader's place in the feed."""

    def __init__(self, backlog: float = BACKLOG) -> None:
        self._backlog = backlog
        self._waiting: deque[Published] = deque()
        self._woken = asyncio.Event()
        self._closed = False

    def put(self, event: Published) -> None:
        if len(self._waiting) >= self._backlog:
            self.close()
        if not self._closed:
            self._waiting.append(event)
            self._woken.set()

    def close(self) -> None:
        """End the iteration after what is already there."""
        self._closed = True
        self._woken.set()

    async def __aiter__(self) -> AsyncIterator[Published]:
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._closed:
                return
            self._woken.clear()
            await self._woken.wait()


class Feed:
    """Fans events out. Never waits for a listener."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._closed = False

    @contextmanager
    def listen(self, *, backlog: float = BACKLOG) -> Iterator[Listener]:
        """A listener that hears what is published from now on."""
        listener = Listener(backlog)
        if self._closed:
            listener.close()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def publish(self, events: Iterable[Published]) -> None:
        for event in events:
            for listener in self._listeners:
                listener.put(event)

    def close(self) -> None:
        """End every listener's iteration, also of who comes later."""
        self._closed = True
        for listener in self._listeners:
            listener.close()
