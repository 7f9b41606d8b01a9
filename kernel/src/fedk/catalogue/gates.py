"""Gates: asked before something is done, first in the configuration first. A failure counts as a veto, and says whose."""

import asyncio
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fedk.api.aggregator import Update
from fedk.api.errors import PluginError, Refused
from fedk.api.hooks import ClientFacts, SessionFacts
from fedk.catalogue.hooks import Enabled
from fedk.catalogue.implementation import Implementation
from fedk.catalogue.worker import Outcome

log = logging.getLogger("fedk.plugins")


class Gates:
    """Those of the enabled plugins."""

    def __init__(self, plugins: Sequence[Enabled] = (), *, seconds: float = 10.0) -> None:
        self._plugins = [plugin for plugin in plugins if plugin.judges]
        self._seconds = seconds
        self._turn = {plugin: asyncio.Lock() for plugin in self._plugins}

    def has(self, hook: str) -> bool:
        """Whether anybody wants to be asked."""
        return any(plugin.of(hook) for plugin in self._plugins)

    async def admit(self, client: ClientFacts) -> None:
        """May it join? Refused with the plugin's name where not."""
        await self._judge("client_joining", client=client)

    async def accept(self, session: SessionFacts, client: ClientFacts, update: Update) -> None:
        """May the update count? Refused with the plugin's name where not."""
        await self._judge("update_received", session=session, client=client, update=update)

    async def select(self, session: SessionFacts, clients: Sequence[ClientFacts]) -> tuple[set[str], tuple[str, ...]]:
        """Who may be asked in the round that opens, and which plugins left some out. PluginError: one has failed."""
        left = {client.name: client for client in clients}
        vetoers: list[str] = []
        for plugin, one in self._asked("clients_selected"):
            chosen = await self._ask(plugin, one, session=session, clients=tuple(left.values()))
            if chosen is None:
                continue
            if isinstance(chosen, str) or not isinstance(chosen, Collection):
                raise self._wrong(plugin, one, chosen, "the names of clients, or None")
            if not left.keys() <= set(chosen):
                vetoers.append(plugin.name)
            left = {name: client for name, client in left.items() if name in chosen}
        return set(left), tuple(vetoers)

    async def settings(
        self, session: SessionFacts, client: ClientFacts, settings: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The settings of a client's task, with what plugins add. PluginError names the plugin that failed."""
        for plugin, one in self._asked("client_settings"):
            more = await self._ask(plugin, one, session=session, client=client, settings=dict(settings))
            if more is None:
                continue
            if not _is_json_object(more):
                raise self._wrong(plugin, one, more, "a mapping from names to what JSON has, or None")
            settings = {**settings, **more}
        return settings

    async def _judge(self, hook: str, **arguments: Any) -> None:
        for plugin, one in self._asked(hook):
            try:
                why = await self._ask(plugin, one, **arguments)
                if why is not None and not isinstance(why, str):
                    raise self._wrong(plugin, one, why, "None, or text that says why not")
            except PluginError as error:
                raise Refused("gate-failed", str(error)) from error
            if why is not None:
                fields = {"plugin": plugin.name, "hook": hook, "client": arguments["client"].name, "why": why}
                log.info("gate.vetoed", extra={"fields": fields})
                raise Refused("gate-failed", f'hook "{plugin.name}" does not allow it: {why}')

    def _asked(self, hook: str) -> list[tuple[Enabled, Implementation]]:
        return [(plugin, one) for plugin in self._plugins for one in plugin.of(hook)]

    async def _ask(self, plugin: Enabled, one: Implementation, **arguments: Any) -> Any:
        await self._turn[plugin].acquire()
        asking = asyncio.create_task(self._outcome(plugin, one, arguments))
        asking.add_done_callback(lambda _: self._turn[plugin].release())  # not before, though who asked may have left
        outcome = await asyncio.shield(asking)
        plugin.tally.add(outcome.seconds, failed=outcome.error is not None)
        if outcome.error is None:
            return outcome.value
        fields = {"plugin": plugin.name, "hook": one.hook}
        log.error("gate.failed", extra={"fields": fields}, exc_info=outcome.error)
        raise PluginError(
            f'hook "{plugin.name}": {one.hook} failed: {type(outcome.error).__name__}: {outcome.error}'
        ) from outcome.error

    async def _outcome(self, plugin: Enabled, one: Implementation, arguments: Mapping[str, Any]) -> Outcome:
        stuck = plugin.judging.busy
        if stuck is not None:  # nobody waits once more for a thread that hangs
            return Outcome(error=TimeoutError(f"a call before has not returned for {stuck:.0f} s"))
        call = plugin.judging.call(one.function, one.arguments(arguments))
        await asyncio.wait({call}, timeout=self._seconds)  # whoever is judged waits no longer than plugins.gate_seconds
        if call.done() and not call.cancelled():
            return call.result()
        await plugin.judging.let_go(call)
        error = TimeoutError(f"has not answered after {self._seconds:g} s (plugins.gate_seconds)")
        return Outcome(error=error, seconds=self._seconds)

    def _wrong(self, plugin: Enabled, one: Implementation, value: Any, wanted: str) -> PluginError:
        plugin.tally.failures += 1
        return PluginError(f'hook "{plugin.name}": {one.hook} returned {type(value).__name__}: it returns {wanted}')


def _is_json_object(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
