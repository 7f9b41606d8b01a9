"""The allowance: bytes of results that may be in memory at once, over all clients."""

import asyncio
from collections import deque
from collections.abc import Callable


class Allowance:
    """First come, first served. Who waits reads nothing more from its stream, and gRPC holds the sender back.

    `short` is called when somebody has to wait, and after each turn in which somebody still has to.
    """

    def __init__(self, limit: int, *, short: Callable[[], None] = lambda: None) -> None:
        self._limit, self._held, self._short = limit, 0, short
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        """Wait until `size` bytes fit. Larger than the whole allowance: until nothing else is held."""
        if not self._waiting and self._fits(size):
            self._held += size
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        self._short()
        try:
            await turn
        except asyncio.CancelledError:
            self._withdraw(size, turn)
            raise

    def give(self, size: int) -> None:
        """Give back what was taken."""
        self._held -= size
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if not turn.cancelled():
                self._held += size
                turn.set_result(None)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._short)  # once those whose turn it is have gone on

    def _fits(self, size: int) -> bool:
        return not self._held or self._held + size <= self._limit

    def _withdraw(self, size: int, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():  # granted in the same turn of the loop in which it was cancelled
            self.give(size)
        elif (size, turn) in self._waiting:
            self._waiting.remove((size, turn))
            self.give(0)  # a smaller one behind it may fit
