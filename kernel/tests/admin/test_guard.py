"""A web page in a browser of this machine must not steer the server: real sockets, as a browser would use them."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from fedk.admin import protocol
from fedk.admin.http import HttpServer
from fedk.admin.protocol import Protocol
from fedk.testing.site import Site

Headers = dict[str, str]


@pytest.fixture
async def page(site: Site) -> AsyncIterator[httpx2.AsyncClient]:
    """What sends requests over HTTP, with the headers of whatever page it plays."""
    http = HttpServer(site.app)
    address = await http.open("127.0.0.1:0")
    async with httpx2.AsyncClient(base_url=f"http://{address}", trust_env=False) as client:
        yield client
    await http.close()


async def started(page: httpx2.AsyncClient, headers: Headers) -> httpx2.Response:
    """A session, asked for as a form of a page does it without asking the browser first."""
    return await page.post(
        "/api/v1/sessions", content=b'{"name": "evil"}', headers={"content-type": "text/plain", **headers}
    )


@pytest.mark.parametrize("origin", ["http://evil.example", "https://127.0.0.1", "null", "http://[", ""])
async def test_a_page_from_elsewhere_starts_no_session(site: Site, page: httpx2.AsyncClient, origin: str) -> None:
    answer = await started(page, {"origin": origin})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign")
    assert "Ask from the command line" in answer.json()["error"]["message"]
    assert (await site.get("sessions"))["sessions"] == []


@pytest.mark.parametrize("whence", ["cross-site", "same-site"])
async def test_a_page_from_elsewhere_makes_no_part_of_itself_of_this_server(
    page: httpx2.AsyncClient, whence: str
) -> None:
    for dest in ("image", "iframe", "script", "empty"):
        part = {"sec-fetch-site": whence, "sec-fetch-dest": dest}
        answer = await page.get("/api/v1/models/latest/check?replay=true", headers=part)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign")
    link = {"sec-fetch-site": whence, "sec-fetch-dest": "document"}
    assert (await page.get("/plugins", headers=link)).status_code == 200
    own = {"sec-fetch-site": "same-origin", "sec-fetch-dest": "image"}
    assert (await page.get("/plugins", headers=own)).status_code == 200


async def test_a_page_whose_name_was_made_to_lead_here_starts_and_reads_nothing(
    site: Site, page: httpx2.AsyncClient
) -> None:
    host = {"host": f"evil.example:{page.base_url.port}"}
    rebound = {**host, "origin": f"http://evil.example:{page.base_url.port}"}
    assert (await started(page, rebound)).status_code == 403
    assert (await page.get("/api/v1/models", headers=host)).status_code == 403
    assert (await site.get("sessions"))["sessions"] == []


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "fedk.localhost"])
async def test_pages_of_this_server_and_programs_are_answered(page: httpx2.AsyncClient, name: str) -> None:
    host = f"{name}:{page.base_url.port}"
    assert (await page.get("/healthz", headers={"host": host})).status_code == 200
    assert (await started(page, {"host": host, "origin": f"http://{host}"})).status_code == 201


async def test_what_a_message_repeats_of_a_header_is_plain_text(page: httpx2.AsyncClient) -> None:
    answer = await page.get("/healthz", headers=[(b"origin", b"http://\xc2\x9b2J")])
    assert answer.status_code == 403
    assert answer.json()["error"]["message"].isprintable()


@pytest.mark.parametrize("path", ["sessions", "models"])
async def test_who_hangs_up_within_a_body_is_no_fault_of_the_server(
    site: Site, page: httpx2.AsyncClient, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = (page.base_url.host, page.base_url.port)
    head = f"POST /api/v1/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{{"
    for _ in range(3):
        _, writer = await asyncio.open_connection(*place)
        writer.write(head.encode())
        await writer.drain()
        assert (await page.get("/healthz")).status_code == 200  # by now it is being read
        writer.close()
        await writer.wait_closed()
    assert (await page.get("/api/v1/sessions")).json() == {"sessions": []}
    assert not [entry for entry in caplog.records if entry.exc_info]
    assert not [file for file in (site.data_dir / "blobs").rglob("*") if file.is_file()]


async def test_a_body_that_goes_wrong_behind_its_answer_is_no_fault_of_the_server(
    page: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection(page.base_url.host, page.base_url.port)
    writer.write(b"POST /api/v1/sessions/x/stop HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert await reader.readuntil(b'FILE"}}')  # the answer's end
    writer.write(b"no length\r\n")
    assert await reader.read() == b""
    writer.close()
    assert [entry.getMessage() for entry in caplog.records] == ["Invalid HTTP request received."]


PING = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
BODY = b"POST /api/v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{"


@pytest.mark.parametrize(
    ("said", "answers"),
    [
        ([b""], 0),
        ([b"GET /healthz HTTP/1.1\r\nHost: 127.0"], 0),
        ([PING, b"GET /heal"], 1),
        ([PING + b"GET /heal"], 1),
        ([BODY], 0),
        ([PING, BODY], 1),
        ([PING + BODY], 1),
        ([BODY.replace(b"Content-Length: 1000", b"Transfer-Encoding: chunked").replace(b"{", b"9\r\n{")], 0),
    ],
)
async def test_who_stops_within_what_it_asks_is_hung_up_on(
    site: Site, said: list[bytes], answers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD", 0.3)
    monkeypatch.setattr(protocol, "BODY", 0.3)
    http = HttpServer(site.app)
    host, _, port = (await http.open("127.0.0.1:0")).rpartition(":")
    reader, writer = await asyncio.open_connection(host, port)
    head = b""
    async with asyncio.timeout(3):  # it would wait for ever; uvicorn's own patience between requests is 5 s
        for part in said:
            writer.write(part)
            if part == PING:
                head += await reader.readuntil(b'"ok"}')
        answered = (head + await reader.read()).count(b'"ok"}')
    assert answered == answers
    writer.close()
    await http.close()


async def test_an_answer_that_takes_longer_is_not_cut_off(site: Site) -> None:
    http = HttpServer(site.app)
    address = await http.open("127.0.0.1:0")
    async with (
        httpx2.AsyncClient(base_url=f"http://{address}", trust_env=False) as client,
        client.stream("GET", "/api/v1/events") as answer,
    ):
        assert await anext(answer.aiter_bytes()) == b": events\n\n"
        [connection] = http.server_state.connections
        assert isinstance(connection, Protocol)
        assert connection._overdue is None  # nothing is to come from who asked
    await http.close()


@pytest.mark.parametrize("waits", [False, True], ids=["sends at once", "waits for 100 Continue"])
async def test_who_is_not_read_is_not_hung_up_on(monkeypatch: pytest.MonkeyPatch, waits: bool) -> None:
    hung, slow = asyncio.Event(), asyncio.Event()
    hang_up = Protocol._hang_up

    def seen(connection: Protocol) -> None:
        hang_up(connection)
        hung.set()

    async def reads_late(scope: Scope, receive: Receive, send: Send) -> None:
        await slow.wait()
        while (await receive()).get("more_body"):
            pass
        await Response("all")(scope, receive, send)

    monkeypatch.setattr(protocol, "BODY", 0.05)
    monkeypatch.setattr(Protocol, "_hang_up", seen)
    http = HttpServer(Starlette(routes=[Mount("/", reads_late)]))
    address = await http.open("127.0.0.1:0")
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: %d\r\n" % 2**24)
    writer.write(b"Expect: 100-continue\r\n\r\n" if waits else b"\r\n")
    if not waits:
        writer.write(b"x" * 2**24)
    async with asyncio.timeout(10):
        await hung.wait()
    slow.set()
    if waits:
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"x" * 2**24)
    assert (await reader.read()).endswith(b"\r\n\r\nall")
    writer.close()
    await http.close()
