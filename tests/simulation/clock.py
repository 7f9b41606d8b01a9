"""Virtual time: an event loop that never waits, and a world whose happenings it lets pass."""

import asyncio
import gc
import heapq
import itertools
import random
import secrets
import selectors
import sqlite3
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from functools import partial
from typing import Any
from unittest.mock import patch

import aiosqlite

EPOCH = 1_700_000_000.0
Happening = Callable[[], None]


class Stuck(Exception):
    """Nothing is ready, and nothing is awaited."""


class World:
    """The time, what is going to happen, and the luck: all of it from one seed."""

    def __init__(self, seed: int) -> None:
        self.luck = random.Random(seed)
        self.now, self.wall = 0.0, 0.0  # seconds; `wall` is how far the clock on the wall is off
        self.calm = False  # nothing goes wrong any more
        self.tries = 0  # of what fails for long
        self.dying = False  # a crashed server is cleared away: nothing happens meanwhile
        self._heap: list[tuple[float, int, Happening]] = []
        self._count = itertools.count()

    def later(self, seconds: float, happening: Happening) -> None:
        heapq.heappush(self._heap, (self.now + seconds, next(self._count), happening))

    def pass_until(self, end: float | None, *, one: bool = False) -> bool:
        """Let things happen until `end`, or only the next ones of one instant; whether anything did."""
        if self.dying:
            self.now = self.now if end is None else max(self.now, end)
            return False
        happened = False
        while self._heap and (end is None or self._heap[0][0] <= end) and not (one and happened):
            self.now = max(self.now, self._heap[0][0])
            while self._heap and self._heap[0][0] <= self.now:
                heapq.heappop(self._heap)[2]()
                happened = True
        if end is not None and not happened:
            self.now = max(self.now, end)
        return happened

    def chance(self, share: float) -> bool:
        """False once the world is calm, without a draw less: a seed stays the same schedule."""
        return self.luck.random() < share and not self.calm


class _Selector(selectors.SelectSelector):
    def __init__(self, world: World, step: Happening) -> None:
        super().__init__()
        self._world, self._step = world, step

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._step()
        end = None if timeout is None else self._world.now + timeout
        if not self._world.pass_until(end, one=True) and timeout is None:
            raise Stuck
        return []


class Loop(asyncio.SelectorEventLoop):
    """Threads' work is done in the loop itself, a little later: every place between two steps is one to crash at."""

    def __init__(self, world: World, *, crash_after: int | None = None) -> None:
        self._world, self.crash_after = world, crash_after
        self._thread = threading.get_ident()
        self.steps: list[float] = []  # the time of each
        self.crashed = False
        super().__init__(_Selector(world, self._step))

    def _step(self) -> None:
        self.steps.append(self._world.now)
        if self.crash_after is not None and len(self.steps) >= self.crash_after:
            self.crashed = True
            self.stop()

    def time(self) -> float:
        return self._world.now

    def call_soon_threadsafe(  # type: ignore[override]  # of any function
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Only from its own thread: another one is not of this world, and would come at any time."""
        if threading.get_ident() != self._thread:
            return asyncio.Handle(callback, args, self, context)
        return super().call_soon_threadsafe(callback, *args, context=context)

    def run_in_executor(  # type: ignore[override]  # of any function
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        future = self.create_future()
        self.call_later(self._world.luck.choice([0.0, 0.0, 0.001, 0.02]), _settle, future, func, *args)
        return future


class Executor:
    """One thread's work, done in the loop: in order, each piece a little later."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._due: deque[Callable[[], object]] = deque()

    def submit(self, func: Callable[..., object], *args: Any, **more: Any) -> "Executor":
        self._due.append(partial(func, *args, **more))
        self._world.later(self._world.luck.choice([0.0, 0.001, 0.02]), self._next)
        return self

    def result(self) -> None:
        """All of it is done now."""
        while self._due:
            self._next()

    shutdown = result

    def _next(self) -> None:
        if self._due:
            _settle(None, self._due.popleft())


def _settle(future: "asyncio.Future[Any] | None", func: Callable[..., Any], *args: Any) -> None:
    try:
        result = func(*args)
    except BaseException as error:  # noqa: BLE001  # as a thread pool does: the caller gets it
        if future is not None and not future.done():
            future.set_exception(error)
    else:
        if future is not None and not future.done():
            future.set_result(result)


class _Calls:
    """What aiosqlite takes for the queue of its thread."""

    def put_nowait(self, item: tuple["asyncio.Future[Any] | None", Callable[[], Any]]) -> None:
        asyncio.get_running_loop().call_soon(_settle, *item)


class _NoThread:
    daemon = False

    def start(self) -> None:
        """There is nothing to start."""


class Connection(aiosqlite.Connection):
    """SQLite itself, called in the loop."""

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, 64)
        self._tx, self._thread = _Calls(), _NoThread()  # type: ignore[assignment]  # of the same shape

    def __del__(self) -> None:
        """A crashed server closes nothing."""


def _connect(database: str, **settings: Any) -> Connection:
    def connector() -> sqlite3.Connection:
        found: sqlite3.Connection = sqlite3.connect(database, **settings)
        found.execute("PRAGMA synchronous = OFF")  # a crash here is a copy of the files
        return found

    return Connection(connector)


@contextmanager
def simulated(world: World) -> Iterator[None]:
    """Clocks, ids and secrets are the world's inside; what is collected at some time may wake a loop, so nothing is."""
    drawn, collecting = random.Random(0), gc.isenabled()
    gc.disable()
    with (
        patch.object(time, "time", lambda: EPOCH + world.now + world.wall),
        patch.object(time, "monotonic", lambda: world.now),
        patch.object(uuid, "uuid4", lambda: uuid.UUID(int=world.luck.getrandbits(128), version=4)),
        patch.object(secrets, "token_bytes", drawn.randbytes),
        patch.object(secrets, "token_hex", lambda size: drawn.randbytes(size).hex()),
        patch.object(secrets, "randbits", drawn.getrandbits),
        patch.object(aiosqlite, "connect", _connect),
    ):
        try:
            yield
        finally:
            if collecting:
                gc.enable()
