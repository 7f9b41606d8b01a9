"""One Connect call: words to the client in order, without anybody waiting for it; words from it, until the end."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import grpc

from fedk.aggregation.record import record
from fedk.api.errors import StateError
from fedk.network.calls import Context, Ended, next_of, unavailable
from fedk.network.messages import together
from fedk_protocol.fields import Parts

CROWDED = 100
"""Messages that may wait for a client before nothing more is read from it: each asks for at most one answer."""

PARCEL = 128 * 2**10
"""Bytes beyond which no further word joins those that travel together."""

FAREWELL = 5.0
"""Seconds that a client has to take the last words before its stream is cut: it may be dead."""

log = logging.getLogger("fedk.network")


@record(frozen=True, slots=True)
class Message:
    """A word, and who wants to know that it is on its way."""

    parts: Parts
    written: Callable[[], None] | None = None


class Stream:
    """`pull` gives what may be said when nothing else is: the next task. With `also`, words that are there travel together."""

    def __init__(self, context: Context, pull: Callable[[], Message | None], *, also: bool = False) -> None:
        self._context, self._pull, self._also = context, pull, also
        self._words: deque[Message] = deque()
        self._news, self._less = asyncio.Event(), asyncio.Event()
        self._due = False  # a word is there that waits for no other
        self._timer: asyncio.TimerHandle | None = None
        self._ending = False
        self._ended: Ended | None = None
        self._patience: asyncio.Timeout | None = None

    def say(self, data: bytes, *, patience: float = 0.0) -> None:
        """Queue a word, which waits so many seconds for others."""
        self._words.append(Message((data,)))
        if not patience:
            self._hurry()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(patience, self._hurry)

    def _hurry(self) -> None:
        self._due = True
        self._news.set()

    def wake(self) -> None:
        """There may be something to pull."""
        self._news.set()

    async def read(self) -> bytes | None:
        """The client's next message; None when it has said all. Waits while too much is unsaid."""
        while len(self._words) >= CROWDED:
            self._hurry()
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
            self._rest()
            reader.cancel()
            await asyncio.wait({reader})  # before the status: a read cannot outlive its call
        if self._ended is not None:
            raise self._ended

    async def _write(self) -> None:
        while True:
            if parcel := self._parcel():
                await self._send(parcel)
            elif self._ending:
                return
            else:
                self._news.clear()
                await self._news.wait()

    def _parcel(self) -> list[Message]:
        """What goes next, in one message."""
        parcel, size = list[Message](), 0
        while (self._also and size < PARCEL) or not parcel:
            if (word := self._next()) is None:
                break
            parcel.append(word)
            size += sum(map(len, word.parts))
        if not self._words:
            self._rest()
        return parcel

    def _next(self) -> Message | None:
        if self._words and (self._due or self._ending):
            return self._words.popleft()
        if not self._ending and (pulled := self._pull()) is not None:
            self._words.append(pulled)
            self._due = True  # who has waited goes with it
        return self._words.popleft() if self._due and self._words else None

    def _rest(self) -> None:
        """No word is waiting."""
        self._due = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _send(self, parcel: Sequence[Message]) -> None:
        await self._context.write(together([word.parts for word in parcel]))
        for word in parcel:
            if word.written is not None:
                word.written()
        self._less.set()

    def failed(self, task: "asyncio.Task[Any]") -> None:
        """End the call by what a task raised, if anything."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fault(error)

    def fault(self, error: BaseException) -> None:
        """End the call by what went wrong."""
        if isinstance(error, StateError):
            self.end(unavailable(error))
        elif isinstance(error, Ended):
            self.end(error.with_traceback(None))  # whose frames hold what the client sent
        else:
            log.error("a stream ends by a fault of this server", exc_info=error)
            self.end(Ended(grpc.StatusCode.INTERNAL, f"a fault of this server: {type(error).__name__}"))

    def _heard(self, reader: "asyncio.Task[None]") -> None:
        self.failed(reader)
        self.end()
