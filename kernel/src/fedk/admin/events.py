"""/events: the event log as server-sent events; first what is written, then what comes."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fedk.admin.page import flag, number
from fedk.admin.queries import events, sessions
from fedk.admin.services import Services, project, services
from fedk.rounds.feed import Listener, Published

_MOST = 2**62


async def stream(request: Request) -> Response:
    """`after`: an event's number, to go on behind it; `rounds`: so many of the session's last rounds, instead.
    `live=false` ends behind the last event that is written; so it does where nothing runs.
    """
    here, tenant = services(request), project(request)
    async with here.reading(tenant) as db:
        session = request.query_params.get("session")
        found = (await sessions.find(db, tenant, session)).id if session else None
        newest = await sessions.newest_event(db)
        after = number(request, "after", newest, least=0, most=_MOST)
        rounds = number(request, "rounds", 0, least=0, most=_MOST)
        last = request.headers.get("last-event-id", "")  # of a browser that connects again: by the address of before
        if last.isascii() and last.isdigit() and len(last) < 19:  # noqa: PLR2004  # 2⁶³
            after = min(int(last), newest)  # what it has heard may be gone, where a copy was put back
        elif rounds and found is not None:
            after = await events.before_rounds(db, found, rounds)
    live = flag(request, "live", default=True) and here.desk is not None
    body = _lived(here, tenant, found, after) if live else _replayed(here, tenant, found, after)
    return _Stream(
        _texts(body), media_type="text/event-stream", headers={"cache-control": "no-store", "x-accel-buffering": "no"}
    )


class _Stream(StreamingResponse):
    """Closes its iterator however it ends: a reader who is gone would listen on until it is collected."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert isinstance(self.body_iterator, AsyncGenerator)  # noqa: S101  # made here
        async with aclosing(self.body_iterator):
            await super().__call__(scope, receive, send)


async def _texts(body: AsyncGenerator[Published]) -> AsyncGenerator[str]:
    yield ": events\n\n"  # so that the head goes out at once
    async with aclosing(body):
        async for event in body:
            yield _text(event)


def _text(event: Published) -> str:
    number = f"id: {event.seq}\n" if event.seq else ""  # progress and log lines are not kept: nothing to go on from
    return f"{number}event: {event.type}\ndata: {json.dumps(asdict(event), ensure_ascii=False)}\n\n"


async def _replayed(here: Services, tenant: str, session: str | None, after: int) -> AsyncGenerator[Published]:
    while True:
        async with here.store.reading() as db:
            batch = await events.after(db, tenant, session, after)
        for event in batch:
            yield event
        if len(batch) < events.BATCH:
            return
        after = batch[-1].seq


async def _lived(here: Services, tenant: str, session: str | None, after: int) -> AsyncGenerator[Published]:
    with here.running().feed.listen() as listener:  # before the rows are read: nothing falls between
        async for event in _replayed(here, tenant, session, after):
            after = event.seq
            yield event
        async for event in _heard(listener, tenant, session):
            if not event.seq or event.seq > after:
                yield event


async def _heard(listener: Listener, tenant: str, session: str | None) -> AsyncIterator[Published]:
    async for event in listener:
        if event.project == tenant and session in (None, event.session):
            yield event


routes = [Route("/events", stream)]
