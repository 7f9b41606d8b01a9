"""Watching a session: its last rounds, then each event as it comes, until it has ended."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import click
import httpx2

from fedk.api.errors import FedkError
from fedk.cli.display import Display, display
from fedk.cli.document import line
from fedk.cli.rest import Address, Rest, asked
from fedk.cli.rounds import ENDS
from fedk.cli.screens.session import LOUD, shown, waiting

ROUNDS = 20
"""Rounds that are shown of what was before."""

QUIET = 0.5
"""Seconds without an event after which the server is asked, once, what the session waits for: not after each event,
of which a fast session has hundreds a second."""

Event = dict[str, Any]


async def watched(at: Address, ref: str, *, as_json: bool) -> str:
    """Show it; returns the status in which the session ended, or is where no server runs it."""
    async with asked(at) as rest:
        found = await rest.get("sessions", ref)
        try:
            if as_json:
                status = await _printed(rest, found)
            else:
                status = await _drawn(rest, found)
        except asyncio.CancelledError:
            click.echo(f"{found['name']} goes on: fedk session watch {found['name']}{rest.at.flags}", err=True)
            raise
        return status


async def _printed(rest: Rest, found: Event) -> str:
    status = str(found["status"])
    async for event in _events(rest, found):
        click.echo(line(event))
        status = _status(event, found, status)
    return status


async def _drawn(rest: Rest, found: Event) -> str:
    status = str(found["status"])
    title = f"{found['name']}   {found['aggregator']}"
    hint = "Ctrl-C leaves, the session goes on"
    with display(title=title, total=found["rounds"], hint=hint) as screen:
        wait = _Wait(rest, found, screen)
        wait.show(found)
        async for event in _events(rest, found):
            screen.take(event["type"], event["body"])
            status = _status(event, found, status)
            wait.stir()
        wait.cancel()
    found = await rest.get("sessions", found["id"])
    click.echo("\n".join(shown(found, rest.at.flags, data_dir=rest.at.data_dir)))
    return status


async def _events(rest: Rest, found: Event) -> AsyncIterator[Event]:
    """From some rounds back to the session's end. A stream that breaks off goes on behind its last event."""
    over = found["status"] in ("finished", "failed", "stopped")
    query: dict[str, Any] = {"rounds": ROUNDS}
    while True:
        async with rest.stream("events", session=found["id"], live=None if not over else "false", **query) as answer:
            async for sent in httpx2.EventSource(answer, max_event_size=None):
                event: Event = json.loads(sent.data)
                yield event
                if event["seq"]:
                    query = {"after": event["seq"]}
                if _ends(event, found):
                    return
        if over or rest.at.data_dir is not None:
            return


def _ends(event: Event, found: Event) -> bool:
    """What was before `found` ended nothing: a failed session may have been resumed since."""
    return event["type"] in ENDS and event["seq"] > found["seq"]


def _status(event: Event, found: Event, before: str) -> str:
    return str(event["type"]).partition(".")[2] if _ends(event, found) else before


class _Wait:
    """What the session waits for: asked when it has been quiet for a while."""

    def __init__(self, rest: Rest, found: Event, screen: Display) -> None:
        self._rest, self._session, self._screen = rest, found["id"], screen
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None

    def stir(self) -> None:
        """An event has come."""
        self.cancel()
        if self._screen.live:
            self._screen.wait("")
        self._timer = asyncio.get_running_loop().call_later(QUIET, self._ask)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._asking is not None:
            self._asking.cancel()

    def show(self, found: Event) -> None:
        for one in found["waiting_for"]:
            if self._screen.live or one["for"] in LOUD:
                self._screen.wait(*waiting(one))

    def _ask(self) -> None:
        self._asking = asyncio.create_task(self._asked())

    async def _asked(self) -> None:
        with suppress(FedkError):  # a server that is gone ends the stream of events, which says so
            self.show(await self._rest.get("sessions", self._session))
