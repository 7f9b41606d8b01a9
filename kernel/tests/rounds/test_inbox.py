"""The inbox: what is given out together, and what waits for it."""

import asyncio

import pytest

from fedk.rounds import events as ev
from fedk.rounds import inbox as room
from fedk.rounds.inbox import Entry, Inbox


async def events(inbox: Inbox) -> list[ev.Event]:
    async with asyncio.timeout(10):  # what is never given out fails
        return [item.event for item in await inbox.batch() if isinstance(item, Entry)]


async def test_a_result_takes_the_place_of_its_tasks_sending() -> None:
    inbox = Inbox()
    for task in ("s-1", "s-2"):
        inbox.put_aside(task)
    inbox.put(Entry("s", ev.Result("s-1", "r", "root")))
    assert await events(inbox) == [ev.Result("s-1", "r", "root")]
    inbox.close()
    assert await events(inbox) == [ev.Sent("s-2")]


async def test_a_sending_that_no_result_overtakes_is_given_out_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "ASIDE", 0.01)
    inbox = Inbox()
    for round_ in ("1", "2"):  # its time begins anew
        inbox.put_aside(f"s-{round_}")
        assert await events(inbox) == [ev.Sent(f"s-{round_}")]


async def test_the_least_patient_decides_when_all_are_given_out() -> None:
    inbox, patient = Inbox(), Entry("s", ev.Sent("s-1"), patience=60)
    inbox.put(patient)
    inbox.put(Entry("s", ev.Sent("s-2"), patience=0.01))
    assert len(await events(inbox)) == 2
    inbox.put(patient)
    inbox.put(Entry("s", ev.Start()))
    assert len(await events(inbox)) == 2


async def test_who_hurries_gets_out_what_is_patient() -> None:
    inbox = Inbox()
    inbox.hurry()  # nothing is there
    inbox.put(Entry("s", ev.Sent("s-1"), patience=60))
    inbox.hurry()
    assert await events(inbox) == [ev.Sent("s-1")]


async def test_who_hurries_also_gets_out_the_result_that_is_on_its_way_and_then_no_other() -> None:
    inbox = Inbox()
    inbox.hurry()
    inbox.put(Entry("s", ev.Sent("s-1"), patience=60))
    inbox.put(first := Entry("s", ev.Result("s-1", "r", "root"), patience=60))
    assert await events(inbox) == [ev.Sent("s-1"), first.event]
    inbox.put(Entry("s", ev.Result("s-2", "r", "root"), patience=60))
    assert not inbox._filled.is_set()


async def test_a_closed_inbox_has_nothing_once_it_is_empty() -> None:
    inbox = Inbox()
    inbox.close()
    assert await events(inbox) == []
