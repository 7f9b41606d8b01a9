"""A web page in a browser of this machine must not steer the server: real sockets, as a browser would use them."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest

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


@pytest.mark.parametrize("said", [b"", b"GET /healthz HTTP/1.1\r\nHost: 127.0"])
async def test_who_connects_and_asks_nothing_is_hung_up_on(
    site: Site, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "GREETING", 0.05)
    http = HttpServer(site.app)
    host, _, port = (await http.open("127.0.0.1:0")).rpartition(":")
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(said)
    async with asyncio.timeout(10):  # it would wait for ever
        assert await reader.read() == b""
    writer.close()
    await http.close()


async def test_an_answer_that_takes_longer_is_not_cut_off(
    page: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    greeted, over = Protocol._greeted, asyncio.Event()

    def seen(connection: Protocol) -> None:
        greeted(connection)
        over.set()

    monkeypatch.setattr(protocol, "GREETING", 0.5)
    monkeypatch.setattr(Protocol, "_greeted", seen)
    async with page.stream("GET", "/api/v1/events") as answer:
        pieces = answer.aiter_bytes()
        assert await anext(pieces) == b": events\n\n"
        await over.wait()
        assert (await page.post("/api/v1/sessions", json={"name": "s"})).status_code == 201
        assert b"session.running" in await anext(pieces)
