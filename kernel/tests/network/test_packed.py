"""Results whose model comes in a codec."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from kernel.tests.network.conftest import House, opened
from numpy.typing import NDArray
from sqlalchemy import select

from fedk.api.codec import BlockCodec, Safetensors
from fedk.api.errors import ConfigError, Conflict, PluginError
from fedk.blobs.reader import Reader, Span
from fedk.blobs.upload import Upload
from fedk.catalogue import Catalogue
from fedk.rounds import door
from fedk.rounds.inbox import Entry
from fedk.rounds.live import Taken
from fedk.state import tables as t
from fedk.testing.protocol import ScriptedClient
from fedk_protocol.metadata import TICKET
from fedk_protocol.v1 import federation_pb2 as pb

MEDIUM, LARGE = 20_000, 400_000  # weights: 80 kB and 1.6 MB natively, so that it has a file of its own
CATALOGUE = Catalogue.scan()


def codec(name: str) -> BlockCodec:
    found: BlockCodec = CATALOGUE.create("codec", name)
    return found


async def asked(
    house: House, use: str, size: int = 4, *names: str, **rules: Any
) -> list[tuple[ScriptedClient, pb.Task]]:
    """Clients that have the codec, each with a task; alone "a"."""
    capabilities = ["init", "train", "validate", f"codec:{use}"]
    clients = [await house.joined(name, capabilities=capabilities) for name in names or ("a",)]
    await house.session(size=size, codec={"use": use}, **rules)
    return [(client, await client.next("task")) for client in clients]


def update(size: int = 4, by: float = 0.1) -> dict[str, NDArray[Any]]:
    return {"w": np.linspace(by, 1, size, dtype=np.float32)}


def packed(use: str, model: Mapping[str, NDArray[Any]]) -> bytes:
    base = {name: np.zeros_like(array) for name, array in model.items()}
    return b"".join(codec(use).encode(model, base=base))


def result(task: pb.Task, use: str, data: bytes, *, inline: bool = False, **about: Any) -> pb.Result:
    based = codec(use).based
    said: dict[str, Any] = {
        "codec": use,
        "representation": pb.REPRESENTATION_DELTA if based else pb.REPRESENTATION_FULL,
        "base": task.inputs["model"].sha256 if based else b"",
        **about,
    }
    blob = pb.Blob(sha256=hashlib.sha256(data).digest(), size=len(data), inline=data if inline else None, **said)
    return pb.Result(task=task.id, result_id="r1", num_examples=1, blobs={"model": blob})


async def committed(house: House) -> tuple[NDArray[Any], list[bytes]]:
    """The session's model, and the hashes of what is in it."""
    await house.event("session.finished")
    async with house.runner.store.reading() as db:
        sha256 = (await db.execute(select(t.models.c.sha256).where(t.models.c.round == 1))).scalar_one()
        hashes = (await db.execute(select(t.contributions.c.update_sha256))).scalars().all()
    span = await house.blobs.span("default", sha256)
    with Reader(span) as reader:
        return Safetensors().decode(reader.read(0, reader.size))["w"], list(hashes)


async def test_a_task_names_the_codec_and_its_settings_to_who_has_it_and_to_nobody_else(house: House) -> None:
    has = await house.joined("has", capabilities=["train", "codec:top-k"])
    lacks = await house.joined("lacks", capabilities=["train", "codec:float16"])
    await house.session(codec={"use": "top-k", "top-k": {"fraction": 0.05}}, clients={"min": 2})
    task, native = await has.next("task"), await lacks.next("task")
    assert (task.codec, json.loads(task.codec_settings)) == ("top-k", {"fraction": 0.05})
    assert (native.codec, native.codec_settings) == ("", "")


@pytest.mark.parametrize("use", ["float16", "bfloat16", "int8", "top-k", "zstd"])
async def test_a_small_update_is_in_the_model_as_it_is_read_and_in_the_trail_as_it_came(house: House, use: str) -> None:
    ((client, task),) = await asked(house, use)
    data = packed(use, update())
    await client.send(result=result(task, use, data, inline=True))
    assert (await client.next("verdict")).outcome == pb.OUTCOME_COMMITTED
    w, hashes = await committed(house)
    assert w.tolist() == codec(use).decode(data)["w"].tolist()
    assert hashes == [hashlib.sha256(data).digest()]


@pytest.mark.parametrize(("use", "size"), [("int8", LARGE), ("zstd", LARGE), ("zstd", MEDIUM)])
async def test_a_large_update_is_kept_natively_and_what_came_is_gone_at_the_receipt(
    house: House, use: str, size: int
) -> None:
    (one, other) = await asked(house, use, size, "a", "b", clients={"min": 2})
    data = packed(use, update(size))
    reply = await one[0].upload(result(one[1], use, data), {"model": data})
    assert reply.WhichOneof("kind") == "receipt"
    files = [path for path in house.spool.root.rglob("*.upload") if path.is_file()]
    assert [path.stat().st_size for path in files] == [len(Safetensors().dumps(update(size)))]
    assert house.spool.used("default") == files[0].stat().st_size
    await other[0].upload(result(other[1], use, data), {"model": data})
    assert (await one[0].next("verdict")).outcome == pb.OUTCOME_COMMITTED
    w, hashes = await committed(house)
    assert np.array_equal(w, codec(use).decode(data)["w"])
    assert hashes == [hashlib.sha256(data).digest()] * 2


async def test_an_upload_that_broke_goes_on_where_it_was(house: House) -> None:
    ((client, task),) = await asked(house, "int8", LARGE)
    data = packed("int8", update(LARGE))
    said = result(task, "int8", data)
    call = client.stub.Upload(metadata=[(TICKET, client.welcome.ticket)])
    await call.write(pb.UploadMessage(begin=pb.UploadBegin(result=said)))
    await call.write(pb.UploadMessage(data=data[: len(data) // 2]))
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.ABORTED
    offset = (await client.upload(said, {"model": data}, offset=1)).send_from.offset
    assert offset == len(data) // 2
    assert (await client.upload(said, {"model": data}, offset=offset)).WhichOneof("kind") == "receipt"
    assert (await client.next("verdict")).outcome == pb.OUTCOME_COMMITTED


async def test_what_waits_for_its_commit_stays_as_it_is_while_the_same_result_comes_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "COMPANY", 0.5)
    (one, other) = await asked(house, "zstd", MEDIUM, "a", "b", clients={"min": 2})
    data, native = packed("zstd", update(MEDIUM)), Safetensors().dumps(update(MEDIUM))
    waiting: asyncio.Queue[Span] = asyncio.Queue()
    put, opened, found = house.runner.inbox.put, house.spool.upload, list[bytes]()

    def noted(item: Any) -> None:
        put(item)
        if isinstance(item, Entry) and isinstance(item.note, Taken) and item.note.arrival.span is not None:
            waiting.put_nowait(item.note.arrival.span)

    monkeypatch.setattr(house.runner.inbox, "put", noted)
    call = one[0].stub.Upload(metadata=[(TICKET, one[0].welcome.ticket)])
    await call.write(pb.UploadMessage(begin=pb.UploadBegin(result=result(one[1], "zstd", data))))
    await call.write(pb.UploadMessage(data=data))
    await call.write(pb.UploadMessage(end=pb.UploadEnd()))
    first = await waiting.get()
    call.cancel()

    def looked(*where: Any, **more: Any) -> Upload:
        upload = opened(*where, **more)
        found.append(Path(first.path).read_bytes())
        return upload

    monkeypatch.setattr(house.spool, "upload", looked)
    reply = await one[0].upload(result(one[1], "zstd", data), {"model": data})
    assert (reply.WhichOneof("kind"), set(found) - {native}) == ("receipt", set())
    await other[0].upload(result(other[1], "zstd", data), {"model": data})
    w, _ = await committed(house)
    assert np.array_equal(w, update(MEDIUM)["w"])
    assert house.spool.used("default") == 0


async def test_who_has_the_codec_may_answer_natively(house: House) -> None:
    ((client, task),) = await asked(house, "top-k")
    await client.answer(task, {"model": Safetensors().dumps(update())})
    assert (await client.next("verdict")).outcome == pb.OUTCOME_COMMITTED
    assert (await committed(house))[0].tolist() == update()["w"].tolist()


async def test_in_one_round_both_are_folded(house: House) -> None:
    (one, other) = await asked(house, "float16", 4, "a", "b", clients={"min": 2})
    data = packed("float16", update())
    await one[0].send(result=result(one[1], "float16", data, inline=True))
    await other[0].answer(other[1], {"model": Safetensors().dumps({"w": np.full(4, 3.0, np.float32)})})
    w, _ = await committed(house)
    assert w.tolist() == ((np.float16(update()["w"]).astype(np.float32).astype(float) + 3) / 2).astype("f4").tolist()


@pytest.mark.parametrize(
    ("about", "reason", "says"),
    [
        ({"base": b"\1" * 32}, "bad-format", "delta to the task's model"),
        ({"representation": pb.REPRESENTATION_FULL}, "bad-format", "delta to the task's model"),
        ({"codec": "zstd"}, "not-supported", "codec zstd, it is taken as safetensors or int8"),
        ({"codec": "safetensors"}, "not-supported", "no deltas"),
        ({"codec": "safetensors", "representation": pb.REPRESENTATION_FULL}, "bad-names", ""),
    ],
)
async def test_what_says_something_else_of_itself_is_refused(
    house: House, about: dict[str, Any], reason: str, says: str
) -> None:
    ((client, task),) = await asked(house, "int8", round={"retries": 0})
    data = packed("int8", {"w": update()["w"], **({"x": np.ones(1)} if not says else {})})
    await client.send(result=result(task, "int8", data, inline=True, **about))
    verdict = await client.next("verdict")
    assert (verdict.reason, says in verdict.detail) == (reason, True), verdict.detail


async def test_a_model_that_no_session_asked_for_in_a_codec_is_refused(house: House) -> None:
    client = await house.joined("a", capabilities=["train", "codec:float16"])
    await house.session(round={"retries": 0})
    task = await client.next("task")
    assert task.codec == ""
    await client.send(result=result(task, "float16", packed("float16", update()), inline=True))
    verdict = await client.next("verdict")
    assert verdict.reason == "not-supported"
    assert "it is taken as safetensors" in verdict.detail


@pytest.mark.parametrize("size", [4, LARGE])
async def test_bytes_that_are_none_of_the_codec_are_refused_and_leave_nothing(house: House, size: int) -> None:
    ((client, task),) = await asked(house, "zstd", size, round={"retries": 0})
    data = bytearray(packed("zstd", update(size)))
    data[-20:] = b"\0" * 20
    if size == 4:
        await client.send(result=result(task, "zstd", bytes(data), inline=True))
        verdict = await client.next("verdict")
    else:
        verdict = (await client.upload(result(task, "zstd", bytes(data)), {"model": bytes(data)})).verdict
    assert verdict.reason == "bad-format"
    assert house.spool.used("default") == 0


async def test_a_spool_without_room_for_what_it_unpacks_to_settles_nothing(tmp_path: Path) -> None:
    data = packed("top-k", update(LARGE))
    async with opened(tmp_path, limits={"spool_bytes": len(data) + 1_000_000}) as house:
        ((client, task),) = await asked(house, "top-k", LARGE)
        house.network._reception._result_max = 2**40  # it is the spool's word that is asked for
        refusal = (await client.upload(result(task, "top-k", data), {"model": data})).refusal
        assert (refusal.reason, refusal.retry) == ("spool-full", True)
        house.spool.limit = 2**30
        offset = (await client.upload(result(task, "top-k", data), {"model": data})).send_from.offset
        assert offset == len(data), "what came is still here"
        reply = await client.upload(result(task, "top-k", data), {"model": data}, offset=offset)
        assert reply.WhichOneof("kind") == "receipt"
        assert (await client.next("verdict")).outcome == pb.OUTCOME_COMMITTED


async def test_what_has_a_receipt_is_folded_after_a_restart(tmp_path: Path) -> None:
    data = packed("int8", update(LARGE))
    async with opened(tmp_path) as house:
        (one, other) = await asked(house, "int8", LARGE, "a", "b", clients={"min": 2})
        assert (await one[0].upload(result(one[1], "int8", data), {"model": data})).WhichOneof("kind") == "receipt"
    async with opened(tmp_path) as house:
        client = await house.joined("b", capabilities=["train", "codec:int8"])
        task = await client.next("task")
        assert (task.id, task.codec) == (other[1].id, "int8")
        await client.upload(result(task, "int8", data), {"model": data})
        assert (await client.next("verdict")).outcome == pb.OUTCOME_COMMITTED
        w, hashes = await committed(house)
    assert np.array_equal(w, codec("int8").decode(data)["w"])
    assert len(hashes) == 2


async def test_a_session_whose_codec_or_its_settings_are_wrong_is_not_begun(house: House) -> None:
    with pytest.raises(PluginError, match=r'codec "float15" is not installed .*float16'):
        await house.session(codec={"use": "float15"})
    with pytest.raises(ConfigError, match="top-k") as wrong:
        await house.session(codec={"use": "top-k", "top-k": {"fraction": 1.5}})
    assert "fraction" in str(wrong.value)
    with pytest.raises(PluginError, match="for whole models"):
        await house.session(codec={"use": "safetensors"})


async def test_a_running_session_keeps_its_codec(house: House) -> None:
    await asked(house, "int8", rounds=2)
    (session,) = house.runner.lives
    await house.desk.pause(session)
    with pytest.raises(Conflict, match="keeps its codec"):
        await house.desk.resume(session, {"codec.use": "zstd"})


def test_updates_are_kept_or_packed_but_not_both(house: House) -> None:
    house.rules(codec={"use": "zstd"}, updates={"keep": "verdict"})
    with pytest.raises(ValueError, match=r'updates.keep = "all" does not go with codec.use'):
        house.rules(codec={"use": "zstd"}, updates={"keep": "all"})
