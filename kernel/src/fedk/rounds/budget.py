"""The budget: the memory of all sessions' accumulators. Those that fold ahead of their round's end give way."""

import asyncio
from typing import Protocol

from fedk_protocol.rooms import ROOMS, Resting


class Holder(Protocol):
    """Whoever has an accumulator."""

    def give_way(self) -> None:
        """Drop it, unless it is at work or its model is being made: it is a cache of the spool."""


class Budget:
    """Of `limit` bytes. One accumulator that is larger is let in when there is no other."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: dict[Holder, int] = {}
        self._order = asyncio.Lock()  # who came first is let in first, however large
        self._freed = asyncio.Event()
        self._resting = Resting(ROOMS.trim)

    @property
    def held(self) -> int:
        """Bytes."""
        return sum(self._held.values())

    @property
    def short(self) -> bool:
        """Whether a model that is to be made now waits for memory."""
        return self._order.locked()

    def spare(self, holder: Holder, nbytes: int) -> bool:
        """Memory to fold ahead, if nobody needs it more."""
        if self.short or not self._fits(nbytes):
            return False
        self._held[holder] = nbytes
        return True

    async def take(self, holder: Holder, nbytes: int) -> None:
        """Memory to make a model of a closed round."""
        async with self._order:
            for other in list(self._held):
                if not self._fits(nbytes):
                    other.give_way()
            while not self._fits(nbytes):
                self._freed.clear()
                await self._freed.wait()
            self._held[holder] = nbytes

    def give(self, holder: Holder) -> None:
        """It has none any more."""
        if self._held.pop(holder, None) is not None:
            self._freed.set()
            self._resting.begin()

    def _fits(self, nbytes: int) -> bool:
        return not self._held or self.held + nbytes <= self._limit
