"""Observers: isolated, in order, off the path of whoever notifies them, and switched off when they keep failing."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from fedk.api.hooks import Event, hookimpl
from fedk.catalogue import observers as module
from fedk.catalogue.hooks import Enabled
from fedk.catalogue.implementation import implementations
from fedk.catalogue.observers import Observers
from fedk.catalogue.tally import Tally

EVENT = Event("round.committed", "default", "s", {}, 0.0)


def plugin(made: Any, name: str = "p", broke: Callable[[BaseException, str], None] = lambda *_: None) -> Enabled:
    return Enabled(name, name, "1.0", implementations(name, made), Tally(), broke)


class Keeps:
    """Remembers in a list that it may share."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self.name, self.seen = name, seen

    @hookimpl
    def event(self, event: Event) -> None:
        self.seen.append(f"{self.name} {event.seq}")


class KeepsAsync:
    def __init__(self, name: str, seen: list[str]) -> None:
        self.keeps = Keeps(name, seen)

    @hookimpl
    async def event(self, event: Event) -> None:
        await asyncio.sleep(0)
        self.keeps.event(event)


class Fails:
    def __init__(self, error: BaseException, times: int = 10**6) -> None:
        self.error, self.left = error, times

    @hookimpl
    def event(self) -> None:
        self.left -= 1
        if self.left >= 0:
            raise self.error


class Hangs:
    """Until it is released; `entered` says that it is there."""

    def __init__(self) -> None:
        self.entered, self.released = threading.Event(), threading.Event()

    @hookimpl
    def event(self) -> None:
        self.entered.set()
        self.released.wait()


async def told(observers: Observers, *events: Event) -> None:
    observers.start()
    for event in events:
        observers.notify("event", event=event)
    await observers.close()


def events(count: int) -> list[Event]:
    return [Event("round.open", "default", "s", {}, 0.0, seq) for seq in range(count)]


async def test_each_event_reaches_each_observer_first_in_the_configuration_first() -> None:
    seen: list[str] = []
    made = [plugin(Keeps("a", seen), "a"), plugin(KeepsAsync("b", seen), "b"), plugin(Keeps("c", seen), "c")]
    await told(Observers(made, budget=5), *events(2))
    assert seen == ["a 0", "b 0", "c 0", "a 1", "b 1", "c 1"]
    assert [one.tally.calls for one in made] == [2, 2, 2]
    assert all(one.tally.seconds > 0 for one in made)


async def test_who_notifies_waits_for_nobody_and_observers_run_in_threads_of_their_own() -> None:
    seen: list[str] = []
    observers = Observers([plugin(Keeps("a", seen))], budget=5)
    observers.start()
    observers.notify("event", event=EVENT)
    assert seen == []
    await observers.close()
    assert seen == ["a 0"]


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), AssertionError(), BaseException("panic")])
async def test_one_that_raises_or_exits_hurts_only_itself(error: BaseException) -> None:
    seen: list[str] = []
    bad, good = plugin(Fails(error), "bad"), plugin(Keeps("good", seen), "good")
    await told(Observers([bad, good], budget=5), *events(2))
    assert seen == ["good 0", "good 1"]
    assert (bad.tally.calls, bad.tally.failures) == (2, 2)


async def test_one_that_fails_as_often_as_the_budget_allows_is_switched_off_visibly() -> None:
    broke: list[str] = []
    said: list[tuple[str, str]] = []

    def failed(type_: str, body: Mapping[str, Any]) -> None:
        said.append((type_, body["plugin"]))

    bad = plugin(Fails(ValueError("x")), "bad", lambda error, problem: broke.append(f"{problem}: {error}"))
    await told(Observers([bad], budget=3, failed=failed), *events(10))
    assert bad.tally.calls == 3
    assert broke == ["its event failed 3 times in a row, its observers are switched off: x"]
    assert said == [*[("hook.failed", "bad")] * 3, ("hook.off", "bad")]


async def test_a_success_gives_the_whole_budget_back() -> None:
    bad = plugin(Fails(ValueError("x"), times=2), "bad")
    await told(Observers([bad], budget=3), *events(10))
    assert (bad.tally.calls, bad.tally.failures) == (10, 2)


async def test_one_that_does_not_return_is_left_behind_and_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    seen: list[str] = []
    hangs, broke = Hangs(), list[str]()
    bad = plugin(hangs, "bad", lambda error, _: broke.append(str(error)))
    call = bad.watching.call

    def entered(*asked: Any) -> Any:
        called = call(*asked)
        hangs.entered.wait()  # however long its thread takes to begin, it is in the call that is left behind
        return called

    def failed(*_: object) -> None:
        monkeypatch.setattr(module, "PATIENCE", 30.0)  # the good one may be slow

    monkeypatch.setattr(bad.watching, "call", entered)
    await told(Observers([bad, plugin(Keeps("good", seen), "good")], budget=2, failed=failed), *events(3))
    assert seen == ["good 0", "good 1", "good 2"]
    assert broke[0].startswith("a call before has not returned for ")
    hangs.released.set()


async def test_an_async_one_that_blocks_its_loop_does_not_block_the_servers() -> None:
    hangs = Hangs()

    class Blocks:
        @hookimpl
        async def event(self) -> None:
            hangs.event()

    observers = Observers([plugin(Blocks())], budget=5)
    observers.start()
    observers.notify("event", event=EVENT)
    await asyncio.to_thread(hangs.entered.wait)
    hangs.released.set()
    await observers.close()


async def test_whoever_keeps_too_many_waiting_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKLOG", 3)
    hangs, seen, broke = Hangs(), list[str](), list[str]()
    bad = plugin(hangs, "bad", lambda error, _: broke.append(str(error)))
    observers = Observers([bad, plugin(Keeps("good", seen), "good")], budget=5)
    observers.start()
    observers.notify("event", event=EVENT)
    await asyncio.to_thread(hangs.entered.wait)
    for event in events(4):
        observers.notify("event", event=event)
    await observers.close()
    assert broke == ["3 events wait for it"]
    assert seen == ["good 0", "good 0", "good 1", "good 2", "good 3"]
    hangs.released.set()


async def test_the_end_waits_for_what_is_queued_and_not_for_one_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAST_WORDS", 0.05)
    hangs = Hangs()
    await told(Observers([plugin(hangs)], budget=5), EVENT)
    hangs.released.set()


async def test_a_plugin_is_not_told_of_its_own_failure() -> None:
    seen: list[str] = []
    observers = Observers([plugin(Keeps("a", seen), "a"), plugin(Keeps("b", seen), "b")], budget=5)
    observers.start()
    observers.notify("event", but="a", event=EVENT)
    await observers.close()
    assert seen == ["b 0"]
