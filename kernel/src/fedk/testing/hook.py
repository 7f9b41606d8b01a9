"""What every hook plugin must do. Subclass `HookSuite`, name the class (or module, or object), and run it with pytest.

class TestEventLog(HookSuite):
    plugin = EventLog
    config = {"path": "events.jsonl"}
"""

import asyncio
import inspect
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import click
import pytest

from fedk.admin.app import TAKEN
from fedk.api.driver import Configured
from fedk.api.hooks import ClientFacts, Event, Gates, ServerFacts, SessionFacts, Update
from fedk.catalogue.extensions import Services, commands, routes, services
from fedk.catalogue.hooks import Enabled
from fedk.catalogue.implementation import HOOKS, Implementation, implementations
from fedk.catalogue.tally import Tally
from fedk.cli import NOUNS
from fedk.testing.suite import Suite, since

SECONDS = 1.0
"""One call of a gate: everybody who is judged waits for it."""

KNOWN = ("fedk.v1.Federation", "grpc.health.v1.Health")

_ROUND = {"name": "digits-1", "round": 1}
BODIES: Mapping[str, Mapping[str, Any]] = {
    "session.running": {"name": "digits-1"},
    "session.paused": {"name": "digits-1", "by": "person", "why": "paused by a person"},
    "session.finished": {"name": "digits-1", "why": ""},
    "session.failed": {"name": "digits-1", "why": "quorum 2 of 2 not reached"},
    "session.stopped": {"name": "digits-1", "why": "stopped by a person"},
    "round.open": {**_ROUND, "attempt": 1, "target": 2},
    "round.retried": {**_ROUND, "attempt": 2, "why": "quorum 2 of 2 not reached"},
    "round.committed": {
        **_ROUND, "updates": 2, "target": 2, "model": "ab" * 32, "examples": 20, "metrics": {"train.loss": 0.5},
        "refused": 0, "sent": 1000, "received": 900, "seconds": 0.25, "fold": 0.01, "store": 0.02,
    },
    "update.accepted": {**_ROUND, "task": "t-1", "client": "a"},
    "update.refused": {**_ROUND, "task": "t-2", "client": "b", "reason": "non-finite", "detail": "w has 1 NaN of 4"},
    "client.joined": {"client": "a", "instance": "7f3a"},
    "client.lost": {"client": "a", "instance": "7f3a"},
    "client.left": {"client": "a", "instance": "7f3a"},
    "model.measured": {**_ROUND, "clients": 2, "metrics": {"validate.accuracy": 0.9}},
    "task.failed": {**_ROUND, "task": "t-3", "client": "b", "kind": "train", "reason": "raised", "detail": "ValueError"},
    "task.lost": {**_ROUND, "task": "t-4", "client": "b"},
    "task.recorded": {**_ROUND, "task": "t-5", "client": "a"},
    "clients.vetoed": {**_ROUND, "clients": ["b"], "plugins": ["guard"]},
    "hook.failed": {"plugin": "slack", "hook": "event", "error": "OSError: down", "times": 1},
    "hook.off": {"plugin": "slack", "error": "OSError: down"},
    "client.progress": {"client": "a", "task": "t-1", "step": 3, "metrics": {"loss": 0.5}},
    "acme.unheard_of": {},
}  # fmt: skip
"""An example of each event that has an observer of its own, of others, and of one of a later fedk."""


@since("1.0")
class HookSuite(Suite):
    """The specifications of `fedk.api.hooks`: what the kernel looks at when it loads a plugin, and calls with examples."""

    plugin: ClassVar[Any]
    """The class, module or object that the entry point names."""
    config: ClassVar[Mapping[str, Any]] = {}
    """Its settings in these tests."""

    @pytest.fixture
    def made(self) -> Any:
        """The plugin, made. Override it where it needs more than its settings."""
        plugin = inspect.getattr_static(type(self), "plugin")
        if isinstance(plugin, type) and issubclass(plugin, Configured):
            return plugin(plugin.config_type()(**self.config))
        return plugin() if isinstance(plugin, type) else plugin

    @pytest.fixture
    def server(self, tmp_path: Path) -> ServerFacts:
        return ServerFacts("root", "0.1.0", "127.0.0.1:6090", "127.0.0.1:6080", tmp_path)

    def test_every_hook_and_argument_has_a_specification(self, made: Any) -> None:
        assert self._functions(made), "no function is marked @hookimpl"

    def test_every_setting_says_what_it_means(self, made: Any) -> None:
        fields = type(made).config_type().model_fields if isinstance(made, Configured) else {}
        silent = [name for name, field in fields.items() if not field.description]
        assert not silent, f"settings without a description: {', '.join(silent)}"

    def test_making_it_twice_does_no_harm(self, made: Any) -> None:
        if isinstance(made, Configured):
            type(made)(made.config)

    async def test_observers_take_what_happens_from_start_to_stop(self, made: Any, server: ServerFacts) -> None:
        await self._all(made, "server_started", server=server)
        for event in _events():
            await self._all(made, "event", event=event)
            if (own := event.type.replace(".", "_")) in HOOKS:
                await self._all(made, own, event=event)
        await self._all(made, "server_stopping", server=server)

    async def test_observers_take_events_before_and_after_a_servers_life(self, made: Any, server: ServerFacts) -> None:
        """A round may be committed while the server starts, and its last words come after `server_stopping`."""
        for event in _events():
            await self._all(made, "event", event=event)
        await self._all(made, "server_started", server=server)
        await self._all(made, "server_stopping", server=server)
        await self._all(made, "server_stopping", server=server)
        for event in _events():
            await self._all(made, "event", event=event)

    async def test_gates_answer_in_time_with_what_they_may(self, made: Any) -> None:
        session = SessionFacts("s1", "digits-1", "default", "fedavg", {"rounds": 20}, 1)
        one, other = ClientFacts("a", "default", {"site": "north"}), ClientFacts("b", "default")
        update = Update("a", "id-1", 10, {"loss": 0.5}, norm=1.0, max_abs=1.0)
        for client in (one, other):
            for why in await self._all(made, "client_joining", client=client):
                assert why is None or isinstance(why, str), f"client_joining returned {why!r}: None, or why not"
            for why in await self._all(made, "update_received", session=session, client=client, update=update):
                assert why is None or isinstance(why, str), f"update_received returned {why!r}: None, or why not"
            for more in await self._all(made, "client_settings", session=session, client=client, settings={"lr": 0.1}):
                assert more is None or isinstance(more, Mapping), (
                    f"client_settings returned {more!r}: a mapping, or None"
                )
        for names in await self._all(made, "clients_selected", session=session, clients=(one, other)):
            fits = names is None or (isinstance(names, Collection) and not isinstance(names, str))
            assert fits, f"clients_selected returned {names!r}: names of clients, or None"

    def test_what_it_adds_can_be_added(self, made: Any) -> None:
        wrong: list[str] = []
        plugin = self._enabled(made, wrong)
        found = commands([plugin], NOUNS)
        assert all(isinstance(command, click.Command) for command in found.values()), "a command is no click command"
        routes([plugin], TAKEN)
        services([plugin], KNOWN).add_to(Services([]))
        assert not wrong, "; ".join(wrong)

    # ---- what the tests are made of ----

    def _functions(self, made: Any) -> list[Implementation]:
        return implementations(type(self).__name__, made)

    def _enabled(self, made: Any, wrong: list[str]) -> Enabled:
        def broke(error: BaseException, problem: str) -> None:
            wrong.append(f"{problem}: {type(error).__name__}: {error}")

        return Enabled("suite", "suite", "", self._functions(made), Tally(), broke)

    async def _all(self, made: Any, hook: str, **arguments: Any) -> list[Any]:
        """What its functions for `hook` answer."""
        answers = []
        for one in self._functions(made):
            if one.hook == hook:
                started = perf_counter()
                try:
                    answers.append(await asyncio.to_thread(asyncio.run, _called(one, arguments)))
                except Exception as error:
                    raise AssertionError(f"{hook} raised {type(error).__name__}: {error}") from error
                took = perf_counter() - started
                assert HOOKS[hook] is not Gates or took < SECONDS, (
                    f"{hook} took {took:.2f} s: everybody waits for a gate"
                )
        return answers


async def _called(one: Implementation, arguments: Mapping[str, Any]) -> Any:
    value = one.function(**one.arguments(arguments))
    return await value if inspect.isawaitable(value) else value


def _events() -> Iterator[Event]:
    for number, (type_, body) in enumerate(BODIES.items(), 1):
        yield Event(
            type_, "default", None if type_.startswith("client.") else "s1", body, 1_700_000_000.0 + number, number
        )
