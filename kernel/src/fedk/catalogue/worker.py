"""A thread and a loop of a plugin's own: what blocks, spins or never returns there holds up nobody else."""

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from time import perf_counter
from typing import Any

LETTING_GO = 1.0
"""Seconds that a cut async function has to end."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one call."""

    value: Any = None
    error: BaseException | None = None
    seconds: float = 0.0


class Worker:
    """Calls functions of a plugin, async or not. The thread is a daemon: one that hangs does not keep the process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()
        self._since: float | None = None
        self._awaits = False  # the call under way is async, and can be cut
        self._over: Future[None] | None = None  # set when the call under way has really ended

    @property
    def busy(self) -> float | None:
        """Seconds that the call under way has taken; None when there is none."""
        return perf_counter() - self._since if self._since is not None else None

    def call(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> "asyncio.Future[Outcome]":
        """Its outcome, once it has one. Never raises what the function raises."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._run, args=[self._loop], name=f"fedk-{self._name}", daemon=True).start()
        self._since, self._awaits = perf_counter(), False
        outcome: Future[Outcome] = Future()
        self._over = Future()
        self._loop.call_soon_threadsafe(self._begin, self._call(function, arguments), outcome, self._over)
        return asyncio.wrap_future(outcome)

    async def let_go(self, call: "asyncio.Future[Outcome]") -> None:
        """Cut a call short. An async function has let go when this returns, and the next call finds the worker free."""
        call.cancel()
        if self._over is not None and self._awaits:
            over = asyncio.wrap_future(self._over)
            await asyncio.wait({over}, timeout=LETTING_GO)  # it may go on in spite of it: then the worker stays busy

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:  # at its end it cancels what the plugin left running
            runner.run(self._ended.wait())

    def _begin(self, work: Coroutine[Any, Any, Outcome], outcome: "Future[Outcome]", over: "Future[None]") -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)
        task.add_done_callback(lambda done: self._end(done, outcome, over))

        def cut(given_up: "Future[Outcome]") -> None:
            if given_up.cancelled() and not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)

        outcome.add_done_callback(cut)

    def _end(self, task: "asyncio.Task[Outcome]", outcome: "Future[Outcome]", over: "Future[None]") -> None:
        """Not in the task: one that is cut before it begins never runs."""
        self._since = None
        if task.cancelled():
            outcome.cancel()
        elif outcome.set_running_or_notify_cancel():
            outcome.set_result(task.result())
        over.set_result(None)

    async def _call(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Outcome:
        started = perf_counter()
        try:
            value = function(**arguments)
            if inspect.isawaitable(value):
                self._awaits = True
                value = await value
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  # foreign code may raise anything, as Rust's panics, or exit
            return Outcome(error=error, seconds=perf_counter() - started)
        return Outcome(value, seconds=perf_counter() - started)

    def close(self) -> None:
        """End the thread, once it is idle."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ended.set)
