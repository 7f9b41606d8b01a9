"""Models over REST: bytes in, bytes out, and what is wrong with them."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update

from fedk.api.codec import Safetensors
from fedk.state import tables as t
from fedk.testing.site import Play, Site, weights

GOOD = Play(loss=0.25, accuracy=0.75)


async def put(site: Site, data: bytes) -> Any:
    return await site.rest.post("/api/v1/models", content=data)


def file_of(site: Site, sha256: str) -> Path:
    (path,) = site.data_dir.glob(f"*/**/{sha256}")
    return Path(path)


async def test_a_model_comes_back_byte_for_byte(site: Site) -> None:
    data = weights(0.5, size=300_000)  # several chunks
    answer = await put(site, data)
    model = answer.json()
    assert (answer.status_code, model["bytes"], model["sha256"]) == (201, len(data), hashlib.sha256(data).hexdigest())
    assert model["tensors"] == [{"name": "w", "dtype": "float64", "shape": [300_000]}]
    assert (model["weights"], model["ref"], model["session"]) == (300_000, model["id"], None)
    got = await site.rest.get(f"/api/v1/models/{model['id']}/content")
    assert got.content == data
    assert got.headers["etag"] == f'"{model["sha256"]}"'
    assert got.headers["content-length"] == str(len(data))


async def test_who_has_a_model_already_gets_no_bytes_and_a_broken_download_goes_on(site: Site) -> None:
    data = weights(0.5)
    id_ = (await put(site, data)).json()["id"]
    tag = f'"{hashlib.sha256(data).hexdigest()}"'
    url = f"/api/v1/models/{id_}/content"
    same = await site.rest.get(url, headers={"if-none-match": tag})
    assert (same.status_code, same.content) == (304, b"")
    rest = await site.rest.get(url, headers={"range": "bytes=100-", "if-range": tag})
    assert (rest.status_code, rest.content) == (206, data[100:])
    head = await site.rest.head(url)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(data)))


NAN = Safetensors().dumps({"w": np.array([1.0, np.nan, 3.0])})


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (NAN, "non-finite", "w has 1 NaN of 3"),
        (NAN[:-1], "bad-format", ""),
        (b"PK\x03\x04 this is a zip, not a model", "bad-format", ""),
        (b"", "bad-format", "the body is empty: it wants a safetensors file"),
    ],
)
async def test_what_is_no_model_is_refused_and_leaves_nothing(site: Site, data: bytes, code: str, words: str) -> None:
    answer = await put(site, data)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)
    assert words in answer.json()["error"]["message"]
    assert (await site.rest.get("/api/v1/models")).json() == {"models": []}
    assert [path for path in site.data_dir.rglob("*") if path.is_file() and "parts" in path.parts] == []


async def test_a_model_larger_than_any_update_may_be_is_refused_before_it_is_read(site: Site) -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("read")
        yield b""

    size = str(50 * 2**30 + 1)
    answer = await site.rest.post("/api/v1/models", content=never(), headers={"content-length": size})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too-large")
    assert "(limits.spool_bytes)" in answer.json()["error"]["message"]
    unknown = await site.rest.post("/api/v1/models", content=never())
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (411, "length-required")


async def test_a_model_is_found_by_round_session_hash_and_prefix(site: Site) -> None:
    await site.players.join("a", GOOD)
    await site.players.join("b", GOOD)
    await site.start(until="session.finished", rounds=2)
    models = (await site.rest.get("/api/v1/models?session=digits-1")).json()["models"]
    assert [one["ref"] for one in models] == ["digits-1/2", "digits-1/1", "digits-1/0"]
    last = models[0]
    for ref in (
        "digits-1/2",
        "digits-1/latest",
        "digits-1",
        "dig",
        "latest",
        last["id"],
        last["id"][:9],
        last["sha256"],
    ):
        assert (await site.rest.get(f"/api/v1/models/{ref}")).json()["id"] == last["id"], ref
    assert (await site.rest.get("/api/v1/models?limit=1")).json()["models"] == [last]


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("digits-1/21", 'no model "digits-1/21". It has digits-1/0 … digits-1/1'),
        ("digits-1/x", 'no model "digits-1/x". It has digits-1/0 … digits-1/1'),
        ("digist-1/1", 'no session "digist-1". Did you mean "digits-1"? There is: digits-1'),
        ("zz", 'no model "zz": neither an id, a hash nor a session. no session "zz". There is: digits-1'),
    ],
)
async def test_an_unknown_model_says_which_there_are(site: Site, ref: str, message: str) -> None:
    await site.players.join("a", GOOD)
    await site.players.join("b", GOOD)
    await site.start(until="session.finished", rounds=1)
    answer = await site.rest.get(f"/api/v1/models/{ref}")
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, message)


async def test_a_hash_of_two_models_lists_both(site: Site) -> None:
    await site.players.join("a", GOOD)
    await site.players.join("b", GOOD)
    await site.start(until="session.finished", rounds=1)
    first = (await site.rest.get("/api/v1/models/digits-1/0")).json()
    answer = await site.rest.get(f"/api/v1/models/{first['sha256'][:12]}")  # the one that was put, and the session's
    assert answer.status_code == 409
    assert "digits-1/0" in answer.json()["error"]["message"]


async def test_a_damaged_model_is_named_by_its_hash_wherever_it_is_asked_for(site: Site) -> None:
    model = (await put(site, weights(0.5))).json()
    path = file_of(site, model["sha256"])
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    content = await site.rest.get(f"/api/v1/models/{model['id']}/content")
    assert (content.status_code, content.json()["error"]["code"]) == (503, "blob")
    assert f"blob {model['sha256']} is damaged" in content.json()["error"]["message"]
    shown = (await site.rest.get(f"/api/v1/models/{model['id']}")).json()
    assert (shown["tensors"], "is damaged" in shown["damaged"]) == (None, True)
    check = (await site.rest.get(f"/api/v1/models/{model['id']}/check")).json()
    assert (check["whole"], check["digest"], "is damaged" in check["bytes"]) == (False, "", True)
    path.unlink()
    gone = await site.rest.get(f"/api/v1/models/{model['id']}/content")
    assert f"blob {model['sha256']} is missing" in gone.json()["error"]["message"]


async def test_the_trail_names_parents_contributors_and_refusals(site: Site) -> None:
    await site.players.join("a", GOOD)
    await site.players.join("b", GOOD)
    await site.players.join("c", Play(refuse="non-finite", detail="w has 1 NaN of 4"))
    await site.start(until="session.finished", rounds=2, clients={"min": 2}, round={"quorum": 0.6})
    models = (await site.rest.get("/api/v1/sessions/digits-1/trail")).json()["models"]
    assert [(one["round"], one["broken"]) for one in models] == [(0, ""), (1, ""), (2, "")]
    assert [one["parent"] for one in models] == [None, models[0]["id"], models[1]["id"]]
    assert [update["client"] for update in models[1]["updates"]] == ["a", "b"]
    assert models[1]["updates"][0]["weight"] == 10.0
    assert ("c", "rejected", "non-finite") in [
        (one["client"], one["verdict"], one["reason"]) for one in models[1]["refusals"]
    ]
    assert models[0]["metrics"] == {"validate.accuracy": 0.75}
    for one in models:
        check = (await site.rest.get(f"/api/v1/models/{one['id']}/check")).json()
        assert (check["whole"], check["ref"]) == (True, one["ref"])


async def test_a_changed_row_breaks_the_digest_and_a_missing_one_the_chain(site: Site) -> None:
    await site.players.join("a", GOOD)
    await site.players.join("b", GOOD)
    await site.start(until="session.finished", rounds=2)
    async with site.store.transaction() as tx:
        model = await tx.scalar(select(t.models.c.id).where(t.models.c.round == 1))
        await tx.execute(update(t.contributions).where(t.contributions.c.model == model).values(weight=99.0))
    check = (await site.rest.get("/api/v1/models/digits-1/1/check")).json()
    assert (check["whole"], check["bytes"]) == (False, "")
    assert "its rows give" in check["digest"]
    assert (await site.rest.get("/api/v1/models/digits-1/2/check")).json()["whole"]  # its own rows are as they were
    async with site.store.transaction() as tx:
        await tx.execute(update(t.models).where(t.models.c.round == 1).values(round=7))
    broken = [one["broken"] for one in (await site.rest.get("/api/v1/sessions/digits-1/trail")).json()["models"]]
    assert broken[0] == ""
    assert all("its parent is" in text for text in broken[1:])
