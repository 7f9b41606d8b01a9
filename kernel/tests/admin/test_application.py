"""The application as a whole: its errors, its plugins, and what it is without a server."""

import asyncio
import json
import shutil
import sys
import threading
from pathlib import Path

import httpx2
import pytest
from starlette.requests import Request

from fedk.admin import admin_app, errors
from fedk.admin.app import V1
from fedk.cli.inprocess import InProcess
from fedk.testing import site as testing
from fedk.testing.site import Play, Site, weights

GOOD = Play(loss=0.25, accuracy=0.75)


def test_the_paths_are_these() -> None:
    paths = {(route.path, method) for route in V1 for method in (route.methods or ()) if method != "HEAD"}
    assert paths == {
        ("/sessions", "GET"),
        ("/sessions", "POST"),
        ("/sessions/{ref}", "GET"),
        ("/sessions/{ref}/rounds", "GET"),
        ("/sessions/{ref}/trail", "GET"),
        ("/sessions/{ref}/metrics", "GET"),
        ("/sessions/{ref}/pause", "POST"),
        ("/sessions/{ref}/resume", "POST"),
        ("/sessions/{ref}/stop", "POST"),
        ("/models", "GET"),
        ("/models", "POST"),
        ("/models/{ref:path}", "GET"),
        ("/models/{ref:path}/content", "GET"),
        ("/models/{ref:path}/check", "GET"),
        ("/clients", "GET"),
        ("/clients/{ref}", "GET"),
        ("/combiners", "GET"),
        ("/combiners/rebalance", "POST"),
        ("/combiners/{name}", "GET"),
        ("/combiners/{name}/drain", "POST"),
        ("/plugins", "GET"),
        ("/plugins/{kind}/{name}", "GET"),
        ("/events", "GET"),
    }


async def test_plugins_are_listed_as_the_catalogue_sees_them(site: Site) -> None:
    found = (await site.rest.get("/api/v1/plugins")).json()["plugins"]
    states = {(one["kind"], one["name"]): one["state"] for one in found}
    assert states["aggregator", "fedavg"] == "available"
    assert states["db", "sqlite"] == "active"
    one = (await site.rest.get("/api/v1/plugins/db/sqlite")).json()
    assert (one["distribution"], one["settings"]["path"]) == ("fedk-plugin-sqlite", "fedk.sqlite")
    unknown = await site.rest.get("/api/v1/plugins/db/sqlitee")
    assert (unknown.status_code, 'Did you mean "sqlite"?' in unknown.json()["error"]["message"]) == (404, True)


@pytest.mark.parametrize(
    ("request_", "status", "code", "words"),
    [
        ("GET /api/v1/nothing", 404, "not-found", "GET /api/v1/nothing: not found"),
        ("GET /api/v1/sessions/a/b/c", 404, "not-found", "not found"),
        ("DELETE /api/v1/sessions", 405, "method-not-allowed", "DELETE /api/v1/sessions"),
        ("POST /api/v1/sessions {", 422, "bad-request", "the body is no JSON"),
        ("POST /api/v1/sessions \xff\xfe", 422, "bad-request", "the body is no JSON"),
        ("POST /api/v1/sessions [1]", 422, "bad-request", "the body is no JSON object"),
    ],
)
async def test_every_error_is_json_with_code_and_message(
    site: Site, request_: str, status: int, code: str, words: str
) -> None:
    method, path, body = f"{request_} ".split(" ", 2)
    answer = await site.rest.request(method, path, content=body.strip().encode("latin-1"))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], words in error["message"]) == (status, code, True)


def test_a_fault_of_the_server_is_told_by_its_kind_alone() -> None:
    answer = errors.HANDLERS[Exception](Request({"type": "http"}), ZeroDivisionError("a secret"))
    assert (answer.status_code, json.loads(bytes(answer.body))["error"]["code"]) == (500, "internal")
    assert b"ZeroDivisionError: a fault of the server. Its log has the traceback" in bytes(answer.body)
    assert b"a secret" not in bytes(answer.body)


async def test_without_a_server_everything_is_read_and_nothing_changed(site: Site) -> None:
    await site.players.join("a", GOOD)
    await site.players.join("b", GOOD)
    await site.start(until="session.finished", rounds=1)
    app = admin_app(
        store=site.store,
        blobs=site.blobs,
        catalogue=site.catalogue,
        desk=None,
        settings=site.settings,
        replays=site.replays,
    )
    async with httpx2.AsyncClient(transport=InProcess(app), base_url="http://directory") as rest:
        found = (await rest.get("/api/v1/sessions/latest")).json()
        assert (found["status"], found["waiting_for"]) == ("finished", [])
        clients = (await rest.get("/api/v1/clients")).json()["clients"]
        assert [(one["state"], one["present_for"], one["doing"]) for one in clients] == [("lost", None, [])] * 2
        assert (await rest.get("/api/v1/models/digits-1/1/content")).status_code == 200
        events = await rest.get("/api/v1/events?after=0")  # ends behind the last one that is written
        assert "session.finished" in events.text
        for path in ("sessions", "models", "sessions/latest/pause", "sessions/latest/resume", "sessions/latest/stop"):
            answer = await rest.post(f"/api/v1/{path}", content=b"{}")
            assert (answer.status_code, "Start a server" in answer.json()["error"]["message"]) == (409, True), path


class Import:
    """A plugin's import, which goes on when it may."""

    def __init__(self) -> None:
        self.began, self.may_go_on = asyncio.Event(), threading.Event()
        self._loop = asyncio.get_running_loop()

    def ends(self) -> None:
        self._loop.call_soon_threadsafe(self.began.set)
        if not self.may_go_on.wait(2):
            raise TimeoutError("nobody else was served meanwhile")
        raise ValueError("it cannot be used")


@pytest.mark.parametrize("key", ["use", "wrap", "then"])
async def test_others_are_served_while_a_plugin_that_a_body_names_is_imported(
    tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    info = tmp_path / "path" / "acme_slow-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: acme-slow\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text("[fedk.aggregators]\nslow = acme_slow:Slow\n", "utf-8")
    (tmp_path / "path" / "acme_slow.py").write_text("import acme_import\nacme_import.ends()\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path / "path")
    shutil.copytree(prepared, tmp_path / "data")
    slow = Import()
    monkeypatch.setitem(sys.modules, "acme_import", slow)
    async with testing.site(tmp_path / "data") as site:
        aggregator = {key: ["slow"] if key == "wrap" else "slow"}
        starting = asyncio.create_task(site.rest.post("/api/v1/sessions", json={"aggregator": aggregator}))
        await slow.began.wait()
        assert (await site.rest.get("/healthz")).status_code == 200
        slow.may_go_on.set()
        assert "ValueError: it cannot be used" in (await starting).text


def files(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if path.is_file()}


async def test_reading_a_directory_creates_no_file(site: Site) -> None:
    before = files(site.data_dir)
    app = admin_app(
        store=site.store,
        blobs=site.blobs,
        catalogue=site.catalogue,
        desk=None,
        settings=site.settings,
        replays=site.replays,
    )
    async with httpx2.AsyncClient(transport=InProcess(app), base_url="http://directory") as rest:
        await rest.get("/api/v1/sessions")
        await rest.post("/api/v1/models", content=weights(1.0))
    assert files(site.data_dir) == before


@pytest.mark.parametrize("path", ["sessions/{}", "clients/{}", "models/{}", "models/{}/1/content", "events?session={}"])
async def test_a_name_that_is_far_too_long_names_nothing(site: Site, path: str) -> None:
    answer = await site.rest.get("/api/v1/" + path.format("a" * 50_000))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (404, "not-found")
    assert len(error["message"]) < 1_000
