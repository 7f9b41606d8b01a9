"""Observers: told of what has happened, one by one, off the path of rounds. One that keeps failing is switched off."""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedk.catalogue.hooks import Enabled
from fedk.catalogue.implementation import Implementation
from fedk.catalogue.worker import Outcome

log = logging.getLogger("fedk.plugins")

BACKLOG = 10_000
"""Calls that may wait. Whoever keeps that many waiting is switched off."""

PATIENCE = 30.0
"""Seconds that one call may keep the others waiting; beyond it the call has failed."""

LAST_WORDS = 5.0
"""Seconds that observers have at the end for what still waits."""


@dataclass(frozen=True, slots=True)
class _Notice:
    hook: str
    arguments: Mapping[str, Any]
    but: str = ""  # the plugin that it is about


Failed = Callable[[str, Mapping[str, Any]], None]
"""(event type, body): tells everybody else of an observer that failed or was switched off."""


class Observers:
    """Those of the enabled plugins, in the order of the configuration."""

    def __init__(self, plugins: Sequence[Enabled], *, budget: int, failed: Failed | None = None) -> None:
        self._plugins = [plugin for plugin in plugins if plugin.observes]
        self._budget, self._failed = budget, failed
        self._in_a_row: Counter[tuple[str, str]] = Counter()
        self._waiting: deque[_Notice] = deque()
        self._woken, self._closed = asyncio.Event(), False
        self._called: tuple[Enabled, asyncio.Future[Outcome]] | None = None
        self._task: asyncio.Task[None] | None = None

    def __bool__(self) -> bool:
        return bool(self._plugins)

    def start(self) -> None:
        if self._plugins:
            self._task = asyncio.create_task(self._run())

    def notify(self, hook: str, *, but: str = "", **arguments: Any) -> None:
        """Say it to every observer of `hook`, and go on."""
        if not self._plugins or self._closed:
            return
        if len(self._waiting) >= BACKLOG and self._called is not None:
            plugin, call = self._called
            self._switch_off(plugin, TimeoutError(f"{BACKLOG:,} events wait for it"))
            call.cancel()
        self._waiting.append(_Notice(hook, arguments, but))
        self._woken.set()

    async def close(self) -> None:
        """Let them have what waits, for LAST_WORDS seconds."""
        self._closed = True
        self._woken.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=LAST_WORDS)  # one that hangs must not keep the server from its end
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            while self._waiting:
                notice = self._waiting.popleft()
                for plugin in [plugin for plugin in self._plugins if plugin.name != notice.but]:
                    for one in plugin.of(notice.hook):
                        await self._tell(plugin, one, notice)
            if self._closed:
                return
            self._woken.clear()
            await self._woken.wait()

    async def _tell(self, plugin: Enabled, one: Implementation, notice: _Notice) -> None:
        if plugin not in self._plugins:  # switched off since
            return
        outcome = await self._outcome(plugin, one, notice)
        if plugin not in self._plugins:
            return
        plugin.tally.add(outcome.seconds, failed=outcome.error is not None)
        if outcome.error is None:
            self._in_a_row.pop((plugin.use, one.hook), None)
        else:
            self._count(plugin, one, outcome.error)

    async def _outcome(self, plugin: Enabled, one: Implementation, notice: _Notice) -> Outcome:
        stuck = plugin.watching.busy
        if stuck is not None:
            return Outcome(error=TimeoutError(f"a call before has not returned for {stuck:.0f} s"))
        call = plugin.watching.call(one.function, one.arguments(notice.arguments))
        self._called = plugin, call
        await asyncio.wait({call}, timeout=PATIENCE)  # a call that never returns must not keep the others waiting
        self._called = None
        if call.done() and not call.cancelled():
            return call.result()
        await plugin.watching.let_go(call)
        return Outcome(error=TimeoutError(f"has not returned after {PATIENCE:g} s"), seconds=PATIENCE)

    def _count(self, plugin: Enabled, one: Implementation, error: BaseException) -> None:
        self._in_a_row[plugin.use, one.hook] += 1
        times = self._in_a_row[plugin.use, one.hook]
        fields = {"plugin": plugin.name, "hook": one.hook, "error": f"{type(error).__name__}: {error}", "times": times}
        log.warning("hook.failed", extra={"fields": fields}, exc_info=error if times == 1 else None)
        self._say("hook.failed", fields)
        if times >= self._budget:
            self._switch_off(plugin, error, f"its {one.hook} failed {times} times in a row, ")

    def _switch_off(self, plugin: Enabled, error: BaseException, why: str = "") -> None:
        self._plugins.remove(plugin)
        left = "; its gates are still asked" if plugin.judges else ""
        plugin.broke(error, f"{why}its observers are switched off{left}")
        fields = {"plugin": plugin.name, "error": f"{type(error).__name__}: {error}"}
        log.error("hook.off", extra={"fields": fields})
        self._say("hook.off", fields)

    def _say(self, type_: str, fields: Mapping[str, Any]) -> None:
        if self._failed is not None:
            self._failed(type_, fields)
