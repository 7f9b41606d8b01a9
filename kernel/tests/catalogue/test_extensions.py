"""What plugins add is asked once and checked; one that adds nonsense is recorded, and the others add theirs."""

from collections.abc import Mapping, Sequence
from typing import Any

import click
import grpc
import pytest

from fedk.api.hooks import AsgiApp, hookimpl
from fedk.catalogue.extensions import commands, routes, services
from fedk.catalogue.hooks import Enabled
from fedk.catalogue.implementation import implementations
from fedk.catalogue.tally import Tally

broke: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_broke() -> None:
    broke.clear()


class Adds:
    def __init__(self, value: Any) -> None:
        self.value = value

    def answer(self) -> Any:
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value

    @hookimpl
    def cli_commands(self) -> Sequence[click.Command]:
        return self.answer()  # type: ignore[no-any-return]  # nonsense is what some tests want

    @hookimpl
    def admin_routes(self) -> Mapping[str, AsgiApp]:
        return self.answer()  # type: ignore[no-any-return]  # as above


class Serves:
    def __init__(self, *names: str) -> None:
        self.names = names
        self.seen: Sequence[str] = ()

    @hookimpl
    def grpc_services(self, server: "grpc.aio.Server", services: Sequence[str]) -> None:
        self.seen = services
        for name in self.names:
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {}),))


class Server:
    """What grpc's has."""

    def __init__(self) -> None:
        self.handlers: list[Any] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        self.handlers += handlers


async def app(scope: Any, receive: Any, send: Any) -> None: ...


def plugin(made: Any, name: str = "p") -> Enabled:
    def record(error: BaseException, problem: str) -> None:
        broke.append(f"{name} {problem}: {type(error).__name__}: {error}")

    return Enabled(name, name, "1.0", implementations(name, made), Tally(), record)


def test_commands_of_all_plugins_are_found_by_name() -> None:
    tail, show = click.Command("tail"), click.Command("show")
    assert commands([plugin(Adds([tail])), plugin(Adds([show]))]) == {"tail": tail, "show": show}
    assert broke == []


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (ValueError("x"), "ValueError: x"),
        (SystemExit(1), "SystemExit: 1"),
        (BaseException("panic"), "BaseException: panic"),
        ([click.Command("run")], "PluginError: there is a command run already"),
        (["tail"], "PluginError: 'tail' is no click command"),
        ("tail", "PluginError: str is not a list of click commands"),
    ],
)
def test_commands_that_cannot_be_used_are_recorded_and_the_others_are_there(value: Any, why: str) -> None:
    tail = click.Command("tail")
    assert commands([plugin(Adds(value), "bad"), plugin(Adds([tail]))], {"run"}) == {"tail": tail}
    assert broke == [f"bad its cli_commands cannot be used: {why}"]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (ValueError("x"), "ValueError: x"),
        ([app], "PluginError: list is no mapping from paths to ASGI applications"),
        ({"metrics": app}, "PluginError: 'metrics' is no path: \"/metrics\" is one"),
        ({"/": app}, "PluginError: '/' is no path: \"/metrics\" is one"),
        ({"/api/v1/mine": app}, "PluginError: /api/v1/mine is answered already"),
        ({"/metrics": 3}, "PluginError: /metrics: int is no ASGI application"),
    ],
)
def test_routes_that_cannot_be_used_are_recorded_and_the_others_are_there(value: Any, why: str) -> None:
    assert routes([plugin(Adds(value), "bad"), plugin(Adds({"/apis": app}))], {"/api"}) == {"/apis": app}
    assert broke == [f"bad its admin_routes cannot be used: {why}"]


def test_of_two_plugins_that_want_one_path_the_first_gets_it() -> None:
    assert routes([plugin(Adds({"/metrics": app})), plugin(Adds({"/metrics": print}), "second")]) == {"/metrics": app}
    assert broke == ["second its admin_routes cannot be used: PluginError: /metrics is answered already"]


def test_services_are_handed_on_to_the_server_and_each_plugin_sees_those_before() -> None:
    first, last, server = Serves("acme.One"), Serves("acme.Two"), Server()
    found = services([plugin(first), plugin(last)], ["fedk.v1.Federation"])
    found.add_to(server)
    assert found.names == ["fedk.v1.Federation", "acme.One", "acme.Two"]
    assert [handler.service_name() for handler in server.handlers] == ["acme.One", "acme.Two"]
    assert last.seen == ("fedk.v1.Federation", "acme.One")


def test_a_service_that_is_there_is_not_replaced() -> None:
    found = services([plugin(Serves("acme.One", "fedk.v1.Federation"), "bad")], ["fedk.v1.Federation"])
    assert (found.names, found.generic) == (["fedk.v1.Federation"], [])
    assert broke == ["bad its grpc_services cannot be used: PluginError: there is a service fedk.v1.Federation already"]
