"""One Connect call: words to the client in order, without anybody waiting for it; words from it, until the end."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import grpc

from fedk.api.errors import StateError
from fedk.network.calls import Context, Ended, next_of, unavailable

CROWDED = 100
"""Messages that may wait for a client before nothing more is read from it: each asks for at most one answer."""

FAREWELL = 5.0
"""Seconds that a client has to take the last words before its stream is cut: it may be dead."""

log = logging.getLogger("fedk.network")


@dataclass(frozen=True, slots=True)
class Message:
    """Bytes, and who wants to know that they are on their way."""

    data: bytes
    written: Callable[[], None] | None = None


class Stream:
    """`pull` gives what may be said when nothing else is: the next task."""

    def __init__(self, context: Context, pull: Callable[[], Message | None]) -> None:
        self._context, self._pull = context, pull
        self._words: deque[Message] = deque()
        self._news, self._less = asyncio.Event(), asyncio.Event()
        self._ending = False
        self._ended: Ended | None = None
        self._patience: asyncio.Timeout | None = None

    def say(self, data: bytes) -> None:
        """Queue a message."""
        self._words.append(Message(data))
        self._news.set()

    def wake(self) -> None:
        """There may be something to pull."""
        self._news.set()

    async def read(self) -> bytes | None:
        """The client's next message; None when it has said all. Waits while too much is unsaid."""
        while len(self._words) >= CROWDED:
            self._less.clear()
            await self._less.wait()
        return await next_of(self._context)

    def end(self, how: Ended | None = None) -> None:
        """Say what is queued, then end the call; None: with OK. The first word counts."""
        if not self._ending:
            self._ending, self._ended = True, how
            self._news.set()
            if self._patience is not None:
                self._patience.reschedule(asyncio.get_running_loop().time() + FAREWELL)

    async def run(self, reading: Coroutine[Any, Any, None]) -> None:
        """Until the end; `reading` hears the client. Raises Ended."""
        reader = asyncio.create_task(reading)
        reader.add_done_callback(self._heard)
        try:
            async with asyncio.timeout(FAREWELL if self._ending else None) as self._patience:  # it may read no more
                await self._write()
        except TimeoutError:
            log.info("a client did not take its last words within %g s", FAREWELL)
        finally:
            self._patience = None  # over: what the reader still says cannot move it
            reader.cancel()
            await asyncio.wait({reader})  # before the status: a read cannot outlive its call
        if self._ended is not None:
            raise self._ended

    async def _write(self) -> None:
        while True:
            message = self._words.popleft() if self._words else None
            if message is None and not self._ending:
                message = self._pull()
            if message is not None:
                await self._send(message)
            elif self._ending:
                return
            else:
                self._news.clear()
                await self._news.wait()

    async def _send(self, message: Message) -> None:
        await self._context.write(message.data)
        if message.written is not None:
            message.written()
        self._less.set()

    def failed(self, task: "asyncio.Task[Any]") -> None:
        """End the call by what a task raised, if anything."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, StateError):
            self.end(unavailable(error))
        elif isinstance(error, Ended):
            self.end(error.with_traceback(None))  # whose frames hold what the client sent
        elif error is not None:
            log.error("a stream ends by a fault of this server", exc_info=error)
            self.end(Ended(grpc.StatusCode.INTERNAL, f"a fault of this server: {type(error).__name__}"))

    def _heard(self, reader: "asyncio.Task[None]") -> None:
        self.failed(reader)
        self.end()
