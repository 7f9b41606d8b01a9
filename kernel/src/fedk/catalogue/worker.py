"""A thread and a loop of a plugin's own: what blocks, spins or never returns there holds up nobody else."""

import asyncio
import inspect
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any


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

    @property
    def busy(self) -> float | None:
        """Seconds that the call under way has taken; None when there is none."""
        return perf_counter() - self._since if self._since is not None else None

    def call(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> "asyncio.Future[Outcome]":
        """Its outcome, once it has one. Never raises what the function raises."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._run, args=[self._loop], name=f"fedk-{self._name}", daemon=True).start()
        self._since = perf_counter()
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._call(function, arguments), self._loop))

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:  # at its end it cancels what the plugin left running
            runner.run(self._ended.wait())

    async def _call(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Outcome:
        started = perf_counter()
        try:
            value = function(**arguments)
            if inspect.isawaitable(value):
                value = await value
        except (Exception, SystemExit) as error:  # noqa: BLE001  # foreign code may raise anything, or exit
            return Outcome(error=error, seconds=perf_counter() - started)
        finally:
            self._since = None
        return Outcome(value, seconds=perf_counter() - started)

    def close(self) -> None:
        """End the thread, once it is idle."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ended.set)
