import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import click
import grpc.aio
import pluggy
import pytest

from fedk.api.hooks import PROJECT, SPECIFICATIONS, Event, hookimpl


def specifications() -> list[Callable[..., Any]]:
    return [function for group in SPECIFICATIONS for function in vars(group).values() if inspect.isfunction(function)]


def manager() -> pluggy.PluginManager:
    made = pluggy.PluginManager(PROJECT)
    for group in SPECIFICATIONS:
        made.add_hookspecs(group)
    return made


class Counts:
    def __init__(self) -> None:
        self.seen: list[str] = []

    @hookimpl
    def round_committed(self, event: Event) -> None:
        self.seen.append(event.type)

    @hookimpl
    def client_joining(self) -> str:
        return "not today"


@pytest.mark.parametrize("function", specifications(), ids=lambda function: function.__name__)
def test_every_specification_has_a_sentence_and_typed_arguments(function: Callable[..., Any]) -> None:
    assert (function.__doc__ or "").rstrip().endswith(".")
    hints = get_type_hints(function, localns={"click": click, "grpc": grpc})
    assert hints.keys() == {*inspect.signature(function).parameters, "return"} - {"self"}


def test_an_implementation_may_leave_out_arguments() -> None:
    hooks, counts = manager(), Counts()
    hooks.register(counts)
    hooks.check_pending()
    hooks.hook.round_committed(event=Event("round.committed", "default", "s", {}, 0.0))
    assert counts.seen == ["round.committed"]
    assert hooks.hook.client_joining(client=None) == "not today"


def test_a_misspelt_hook_is_found() -> None:
    class Misspelt:
        @hookimpl
        def round_comitted(self, event: Event) -> None: ...

    hooks = manager()
    hooks.register(Misspelt())
    with pytest.raises(pluggy.PluginValidationError, match="round_comitted"):
        hooks.check_pending()


def test_an_argument_that_no_specification_has_is_refused() -> None:
    class Wants:
        @hookimpl
        def round_committed(self, model: bytes) -> None: ...

    with pytest.raises(pluggy.PluginValidationError, match="model"):
        manager().register(Wants())
