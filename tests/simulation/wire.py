"""A connection between a client and a server: ordered, slow, and it may break. What was on its way is lost then."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.clock import World

from fedk_protocol.metadata import TICKET

if TYPE_CHECKING:
    from tests.simulation.server import Server


class Wire:
    """To the server it is the context of a call. `hear` gets each message of the server, `ended` is called once."""

    def __init__(
        self, world: World, server: "Server", hear: Callable[[bytes], None], ended: Callable[[], None], ticket: str = ""
    ) -> None:
        self.world, self.server = world, server
        self.call: asyncio.Task[None] | None = None
        self.closed = False  # for the client
        self._hear, self._ended, self._ticket = hear, ended, ticket
        self._up, self._down = 0.0, 0.0  # when the last message arrives: none overtakes another
        self._inbox: deque[bytes | None] = deque()
        self._news: asyncio.Future[None] | None = None
        self._cut = False

    # ---- the client's end ----

    def send(self, data: bytes | None) -> None:
        """`None`: it has said all."""
        self._up = max(self._up, self.world.now + self._delay())
        self.world.later(self._up - self.world.now, lambda: self._arrive(data))

    def cut(self) -> None:
        """It breaks: each end notices in its own time."""
        if not self._cut:
            self._cut = True
            self.world.later(self._delay() * 10, self._close)
            self.world.later(self._delay() * 10, self._lost)

    def _close(self) -> None:
        if not self.closed:
            self.closed = True
            self._ended()

    # ---- the server's end ----

    async def read(self) -> bytes | None:
        while not self._inbox:
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        return self._inbox[0] if self._inbox[0] is None else self._inbox.popleft()

    async def write(self, data: bytes) -> None:
        await asyncio.sleep(0)  # gives the loop a turn, as a write does
        self._down = max(self._down, self.world.now + self._delay())
        self.world.later(self._down - self.world.now, lambda: self._deliver(data))

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return [(TICKET, self._ticket)]

    def end(self) -> None:
        """The server has ended the call: after its last word."""
        self.world.later(max(self._down - self.world.now, 0.0) + 0.001, self._close)

    # ---- on the way ----

    def _delay(self) -> float:
        return self.world.luck.choice([0.001, 0.01, 0.05, 0.5]) * self.world.luck.random()

    def _arrive(self, data: bytes | None) -> None:
        if not self._cut and self.server.listening:
            self._inbox.append(data)
            self._wake()

    def _deliver(self, data: bytes) -> None:
        if not (self._cut or self.closed):
            self._hear(data)

    def _lost(self) -> None:
        if self.server.listening and self.call is not None:
            if self.world.luck.random() < 0.5:
                self.call.cancel()
            self._inbox.append(None)
            self._wake()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
