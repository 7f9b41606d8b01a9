"""Settings that no client reads are a warning; those that were read before a restart are none."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fedk.api.errors import ConfigError
from fedk.rounds.clients import Offer
from fedk.testing.site import Play, Site, site

RULES: dict[str, Any] = {"clients": {"min": 1}, "validation": {"every": 0}, "client_settings": {"nap": 2, "foo": 1}}
READS = Play(reads=("nap",))


class Held:
    """A player that answers round 1 at once, and round 2 when it is told to."""

    def __init__(self) -> None:
        self.offers = asyncio.Queue[Offer]()

    def __call__(self, offer: Offer) -> Play:
        if offer.work.round == 1:
            return READS
        self.offers.put_nowait(offer)
        return Play(silent=True)


async def accepted(here: Site) -> str:
    """A paused session whose second round has its only update; its id."""
    held = Held()
    await here.players.join("a", held)
    session = str((await here.start(until="session.running", rounds=2, **RULES))["id"])
    offer = await held.offers.get()
    await here.desk.pause(session)
    await here.players.answer(offer, READS)
    return session


async def warnings(here: Site) -> Any:
    """Of the session, once it has ended."""
    with here.desk.feed.listen() as listener:
        if (await here.get("sessions/digits-1"))["status"] != "finished":
            async for event in listener:
                if event.type == "session.finished":
                    break
    return (await here.get("sessions/digits-1"))["warnings"]


async def test_what_was_read_before_a_session_was_changed_is_no_warning(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        await here.desk.resume(await accepted(here), {"round.deadline": 60})
        assert await warnings(here) == ['setting "foo" was read by no client (they read: nap)']


async def test_what_was_read_before_a_restart_is_no_warning(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        session = await accepted(here)
    async with site(tmp_path) as here:
        await here.desk.resume(session)
        assert await warnings(here) == ['setting "foo" was read by no client (they read: nap)']


async def test_a_change_that_cannot_be_is_told_in_the_words_of_a_session_file(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        with pytest.raises(ConfigError) as error:
            await here.desk.resume(await accepted(here), {"round.quorum": 7, "roudns": 3})
    assert sorted(error.value.mistakes) == [
        "roudns = 3 is not a key here. Did you mean rounds?",
        "round.quorum = 7 must be ≤ 1",
    ]
