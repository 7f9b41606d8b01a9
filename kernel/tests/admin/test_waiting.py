"""Long work for a request ends with whoever asked."""

import asyncio

import pytest
from starlette.requests import ClientDisconnect, Request

from fedk.admin import admin_app
from fedk.admin.http import HttpServer
from fedk.admin.waiting import while_wanted
from fedk.rounds.replay import Replayed, Replays
from fedk.testing.site import Site


def asked(*messages: str) -> Request:
    """Then nothing more is heard."""
    said = iter(messages)

    async def receive() -> dict[str, str]:
        try:
            return {"type": next(said)}
        except StopIteration:
            never: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
            return await never

    return Request({"type": "http"}, receive)


async def test_work_is_done_for_who_waits() -> None:
    assert await while_wanted(asked("http.request"), asyncio.sleep(0, 7)) == 7


async def test_work_is_cancelled_when_who_asked_hangs_up() -> None:
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()

    with pytest.raises(ClientDisconnect):
        await while_wanted(asked("http.request", "http.disconnect"), work())
    assert cancelled.is_set()


async def test_what_the_work_raises_is_raised() -> None:
    async def work() -> None:
        raise ValueError("7")

    with pytest.raises(ValueError, match="7"):
        await while_wanted(asked(), work())


class Endless(Replays):
    """Says when it is asked, and when it is left."""

    def __init__(self) -> None:
        self.begun, self.left = asyncio.Event(), asyncio.Event()

    async def replay(self, model: str) -> Replayed:  # of the signature that it stands for
        self.begun.set()
        try:
            never: asyncio.Future[Replayed] = asyncio.get_running_loop().create_future()
            return await never
        finally:
            self.left.set()


async def test_a_connection_that_is_closed_ends_the_replay_that_it_waits_for(site: Site) -> None:
    endless, model = Endless(), await site.put()
    app = admin_app(
        store=site.store, blobs=site.blobs, catalogue=site.catalogue, desk=site.desk, settings=site.settings,
        replays=endless,
    )  # fmt: skip
    http = HttpServer(app)
    host, port = (await http.open("127.0.0.1:0")).rsplit(":", 1)
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /api/v1/models/{model}/check?replay=true HTTP/1.1\r\nhost: {host}:{port}\r\n\r\n".encode())
    async with asyncio.timeout(20):  # a longer wait is a fault that the test shows
        await endless.begun.wait()
        writer.close()
        await endless.left.wait()
    await http.close()
