"""The suite is proved on hook plugins that are wrong on purpose: each must fail the right test."""

import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import Field

from fedk.api.errors import PluginError
from fedk.api.hooks import AsgiApp, Config, Event, HookPlugin, ServerFacts, hookimpl
from fedk.catalogue.implementation import HOOKS
from fedk.testing.hook import BODIES, HookSuite

SERVER = ServerFacts("root", "0.1.0", "127.0.0.1:1", "127.0.0.1:2", Path("x"))
Test = Callable[[HookSuite, Any], Coroutine[Any, Any, None] | None]


class Settings(Config):
    path: str = Field("x")


class Right(HookPlugin[Config]):
    @hookimpl
    async def event(self, event: Event) -> None: ...

    @hookimpl
    def client_joining(self) -> str | None:
        return None

    @hookimpl
    def cli_commands(self) -> list[click.Command]:
        return [click.Command("mine")]


class TestRight(HookSuite):
    plugin = Right


class Nothing:
    """Forgot @hookimpl."""

    def event(self, event: Event) -> None: ...


class Typo:
    @hookimpl
    def round_comitted(self, event: Event) -> None: ...


class Silent(HookPlugin[Settings]):
    @hookimpl
    def event(self) -> None: ...


class Narrow:
    """Knows one event and no other."""

    @hookimpl
    def event(self, event: Event) -> None:
        event.body["round"]


class Early:
    """Needs what `server_started` brings."""

    @hookimpl
    def event(self) -> None:
        self.file.write("x")

    @hookimpl
    def server_started(self) -> None:
        self.file = open("/dev/null", "w")  # noqa: PTH123, SIM115  # the fault is that it is opened here


class Says:
    def __init__(self, value: Any) -> None:
        self.value = value

    @hookimpl
    def client_joining(self) -> Any:
        return self.value


class Names:
    @hookimpl
    def clients_selected(self) -> Any:
        return "abc"


class Slow:
    @hookimpl
    def update_received(self) -> None:
        time.sleep(1.05)


class Adds:
    def __init__(self, hook: str) -> None:
        self.hook = hook

    @hookimpl
    def cli_commands(self) -> list[click.Command]:
        return [click.Command("run")] if self.hook == "command" else []

    @hookimpl
    def admin_routes(self) -> Mapping[str, AsgiApp]:
        return {"metrics": print} if self.hook == "route" else {}  # type: ignore[dict-item]  # as above


def ways(suite: HookSuite, made: Any) -> Any:
    return suite.test_observers_take_what_happens_from_start_to_stop(made, SERVER)


def early(suite: HookSuite, made: Any) -> Any:
    return suite.test_observers_take_events_before_and_after_a_servers_life(made, SERVER)


@pytest.mark.parametrize(
    ("wrong", "test", "error", "message"),
    [
        (Nothing(), HookSuite.test_every_hook_and_argument_has_a_specification, PluginError, "implements no hook"),
        (
            Typo(),
            HookSuite.test_every_hook_and_argument_has_a_specification,
            PluginError,
            "Did you mean round_committed",
        ),
        (Silent(), HookSuite.test_every_setting_says_what_it_means, AssertionError, "without a description: path"),
        (Narrow(), ways, AssertionError, "event raised KeyError: 'round'"),
        (Early(), early, AssertionError, "event raised AttributeError"),
        (
            Says(False),
            HookSuite.test_gates_answer_in_time_with_what_they_may,
            AssertionError,
            "client_joining returned",
        ),
        (Names(), HookSuite.test_gates_answer_in_time_with_what_they_may, AssertionError, "clients_selected returned"),
        (Slow(), HookSuite.test_gates_answer_in_time_with_what_they_may, AssertionError, "everybody waits for a gate"),
        (Adds("command"), HookSuite.test_what_it_adds_can_be_added, AssertionError, "there is a command run already"),
        (Adds("route"), HookSuite.test_what_it_adds_can_be_added, AssertionError, "'metrics' is no path"),
    ],
)
async def test_a_wrong_plugin_fails_the_right_test_with_a_readable_message(
    wrong: Any, test: Test, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await finished(test, wrong)


async def finished(test: Test, wrong: Any) -> None:
    ran = test(HookSuite(), wrong)
    if ran is not None:
        await ran


def test_there_is_an_example_of_every_event_that_has_an_observer() -> None:
    own = {name for name, group in HOOKS.items() if group.__name__ == "Observers"}
    assert own - {"server_started", "server_stopping", "event"} <= {type_.replace(".", "_") for type_ in BODIES}
