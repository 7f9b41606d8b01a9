"""Gates: a veto has its plugin's name; an exception, nonsense or silence is one, too."""

import asyncio
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest

from fedk.api.aggregator import Update
from fedk.api.errors import PluginError, Refused
from fedk.api.hooks import ClientFacts, SessionFacts, hookimpl
from fedk.catalogue.gates import Gates
from fedk.catalogue.hooks import Enabled
from fedk.catalogue.implementation import implementations
from fedk.catalogue.tally import Tally

SESSION = SessionFacts("s", "digits-1", "default", "fedavg", {}, 1)
A, B, C = (ClientFacts(name, "default") for name in "abc")


def plugin(made: Any, name: str = "guard") -> Enabled:
    return Enabled(name, name, "1.0", implementations(name, made), Tally(), lambda *_: None)


class Guard:
    def __init__(self, value: Any = None, error: BaseException | None = None) -> None:
        self.value, self.error, self.asked = value, error, 0

    def answer(self) -> Any:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.value

    @hookimpl
    def client_joining(self, client: ClientFacts) -> str | None:
        return self.answer()  # type: ignore[no-any-return]  # nonsense is what some tests want

    @hookimpl
    async def update_received(self) -> str | None:
        return self.answer()  # type: ignore[no-any-return]  # as above

    @hookimpl
    async def clients_selected(self, clients: Sequence[ClientFacts]) -> Collection[str] | None:
        return self.answer()  # type: ignore[no-any-return]  # as above

    @hookimpl
    def client_settings(self, settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return self.answer()  # type: ignore[no-any-return]  # as above


async def test_without_gates_everything_is_allowed() -> None:
    gates = Gates()
    await gates.admit(A)
    await gates.accept(SESSION, A, Update("a", "1", 1))
    assert await gates.select(SESSION, [A, B]) == ({"a", "b"}, ())
    assert await gates.settings(SESSION, A, {"lr": 1}) == {"lr": 1}
    assert not gates.has("client_joining")


async def test_a_veto_is_a_refusal_with_the_plugins_name() -> None:
    first, second = Guard("outside office hours"), Guard()
    gates = Gates([plugin(first, "hours"), plugin(second, "second")])
    with pytest.raises(Refused) as refused:
        await gates.admit(A)
    assert refused.value.reason == "gate-failed"
    assert refused.value.detail == 'hook "hours" does not allow it: outside office hours'
    assert second.asked == 0
    with pytest.raises(Refused, match='gate-failed: hook "hours" does not allow it'):
        await gates.accept(SESSION, A, Update("a", "1", 1))


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(2), BaseException("as a panic of Rust")])
async def test_an_exception_refuses_that_client_or_result_and_names_the_plugin(error: BaseException) -> None:
    guard = plugin(Guard(error=error))
    gates = Gates([guard])
    with pytest.raises(Refused, match=f'gate-failed: hook "guard": client_joining failed: {type(error).__name__}'):
        await gates.admit(A)
    with pytest.raises(Refused, match='gate-failed: hook "guard": update_received failed'):
        await gates.accept(SESSION, A, Update("a", "1", 1))
    assert (guard.tally.calls, guard.tally.failures) == (2, 2)


async def test_in_selection_and_settings_an_exception_names_the_plugin() -> None:
    gates = Gates([plugin(Guard(error=ValueError("x")))])
    with pytest.raises(PluginError, match='hook "guard": clients_selected failed: ValueError: x'):
        await gates.select(SESSION, [A])
    with pytest.raises(PluginError, match='hook "guard": client_settings failed: ValueError: x'):
        await gates.settings(SESSION, A, {})


async def test_a_gate_that_does_not_answer_has_failed_and_the_next_is_not_kept_waiting() -> None:
    released = threading.Event()

    class Hangs:
        @hookimpl
        def client_joining(self) -> None:
            released.wait()

    gates = Gates([plugin(Hangs())], seconds=0.01)
    with pytest.raises(Refused, match=r"TimeoutError: has not answered after 0.01 s \(plugins.gate_seconds\)"):
        await gates.admit(A)
    with pytest.raises(Refused, match=r"a call before has not returned for \d+ s"):
        await gates.admit(A)
    released.set()


async def test_an_async_gate_that_hangs_for_one_client_answers_for_the_next() -> None:
    class Particular:
        @hookimpl
        async def client_joining(self, client: ClientFacts) -> None:
            if client.name == A.name:
                await asyncio.Event().wait()

    gates = Gates([plugin(Particular())], seconds=0.5)
    hung, let_in = await asyncio.gather(gates.admit(A), gates.admit(B), return_exceptions=True)
    assert "has not answered after 0.5 s" in str(hung)
    assert let_in is None


async def test_each_gate_sees_whom_those_before_have_left() -> None:
    class Seen(Guard):
        @hookimpl
        async def clients_selected(self, clients: Sequence[ClientFacts]) -> Collection[str] | None:
            self.value = [client.name for client in clients]
            return None

    seen = Seen()
    gates = Gates([plugin(Guard({"b", "c", "x"}), "first"), plugin(seen, "second")])
    assert await gates.select(SESSION, [A, B, C]) == ({"b", "c"}, ("first",))
    assert seen.value == ["b", "c"]


async def test_settings_add_up_and_the_later_plugin_wins() -> None:
    gates = Gates([plugin(Guard({"lr": 2, "mu": 1}), "first"), plugin(Guard({"mu": 3}), "second")])
    assert await gates.settings(SESSION, A, {"lr": 1, "epochs": 5}) == {"lr": 2, "mu": 3, "epochs": 5}


async def test_nonsense_is_a_failure_that_says_what_is_wanted() -> None:
    with pytest.raises(Refused, match="client_joining returned bool: it returns None, or text that says why not"):
        await Gates([plugin(Guard(value=False))]).admit(A)
    with pytest.raises(PluginError, match="clients_selected returned str: it returns the names of clients, or None"):
        await Gates([plugin(Guard("abc"))]).select(SESSION, [A])
    for wrong in ([1], {1: 2}, {"a": {1, 2}}, {"a": float("nan")}):
        with pytest.raises(PluginError, match=f"client_settings returned {type(wrong).__name__}: it returns a mapping"):
            await Gates([plugin(Guard(wrong))]).settings(SESSION, A, {})


async def test_who_leaves_while_a_gate_is_asked_does_not_fail_the_next() -> None:
    """An upload's client hangs up in mid-question: the next client's result is judged, not refused."""
    begun, go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    class Slow:
        @hookimpl
        def update_received(self, client: ClientFacts) -> str | None:
            loop.call_soon_threadsafe(begun.set)
            go.wait(10)
            return None

    gates = Gates([plugin(Slow())])
    leaves = asyncio.create_task(gates.accept(SESSION, A, Update("a", "1", 1)))
    await begun.wait()
    leaves.cancel()
    await asyncio.wait({leaves})
    stays = asyncio.create_task(gates.accept(SESSION, B, Update("b", "2", 1)))
    for _ in range(3):
        await asyncio.sleep(0)
    go.set()
    await stays
