"""Results that are too large for a message."""

import asyncio
import hashlib
import math
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from kernel.tests.network.conftest import LARGE, House, opened, weights

from fedk.blobs.upload import Upload
from fedk.network import inflow
from fedk.rounds import door
from fedk.rounds.inbox import Entry
from fedk.rounds.live import Taken
from fedk.testing.protocol import ScriptedClient
from fedk_protocol.metadata import TICKET
from fedk_protocol.v1 import federation_pb2 as pb

MODEL = weights(1.0, size=LARGE)
HALF = len(MODEL) // 2


async def asked(house: House, **rules: Any) -> tuple[ScriptedClient, pb.Task]:
    """A client with a large model to train."""
    client = await house.joined("a")
    await house.session(size=LARGE, **rules)
    return client, await client.next("task")


def result(task: pb.Task, data: bytes = MODEL, *, sha256: bytes | None = None, **fields: Any) -> pb.Result:
    blob = pb.Blob(sha256=hashlib.sha256(data).digest() if sha256 is None else sha256, size=len(data))
    said: dict[str, Any] = {"result_id": "r1", "num_examples": 1, "blobs": {"model": blob}, **fields}
    return pb.Result(task=task.id, **said)


async def half(client: ScriptedClient, said: pb.Result, data: bytes = MODEL) -> None:
    """An upload that breaks off in the middle."""
    call = client.stub.Upload(metadata=[(TICKET, client.welcome.ticket)])
    await call.write(pb.UploadMessage(begin=pb.UploadBegin(result=said)))
    await call.write(pb.UploadMessage(data=data[:HALF]))
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.ABORTED


async def test_a_large_result_is_in_the_model_that_it_completes(house: House) -> None:
    client, task = await asked(house)
    verdict = (await client.upload(result(task), {"model": MODEL})).verdict
    assert (verdict.result_id, verdict.outcome) == ("r1", pb.OUTCOME_COMMITTED)
    sent, received = house.network.traffic((await house.event("session.finished")).session or "")
    assert len(MODEL) < received < len(MODEL) + 1_000
    assert sent < 1_000


async def test_the_client_is_free_at_the_answer(house: House) -> None:
    client, task = await asked(house, rounds=2)
    await client.upload(result(task), {"model": MODEL})
    assert (await client.next("task")).round == 2


async def test_an_upload_that_broke_goes_on_where_it_was(house: House) -> None:
    client, task = await asked(house)
    await half(client, result(task))
    reply = await client.upload(result(task), {"model": MODEL})
    assert reply.send_from.offset == HALF
    reply = await client.upload(result(task), {"model": MODEL}, offset=HALF)
    assert reply.verdict.outcome == pb.OUTCOME_COMMITTED


async def test_it_goes_on_on_another_stream_too(house: House) -> None:
    client, task = await asked(house)
    await half(client, result(task))
    await client.cut()
    kept = pb.Kept(task=task.id, result_id="r1", sha256=hashlib.sha256(MODEL).digest(), size=len(MODEL))
    await client.join(outbox=[kept])
    told = await client.next("send_from")
    assert told.offset == HALF
    reply = await client.upload(result(task), {"model": MODEL}, offset=told.offset)
    assert reply.verdict.outcome == pb.OUTCOME_COMMITTED


async def test_a_client_that_dies_on_the_way_leaves_what_came_before(house: House) -> None:
    client, task = await asked(house)
    call = client.stub.Upload(metadata=[(TICKET, client.welcome.ticket)])
    await call.write(pb.UploadMessage(begin=pb.UploadBegin(result=result(task))))
    await call.write(pb.UploadMessage(data=MODEL[:HALF]))
    call.cancel()
    reply = await client.upload(result(task), {"model": MODEL})
    if reply.WhichOneof("kind") == "send_from":
        assert reply.send_from.offset == HALF
        reply = await client.upload(result(task), {"model": MODEL}, offset=HALF)
    assert reply.verdict.outcome == pb.OUTCOME_COMMITTED


@pytest.mark.parametrize("offset", [1, HALF])
async def test_an_offset_that_is_not_the_servers_is_corrected(house: House, offset: int) -> None:
    client, task = await asked(house)
    reply = await client.upload(result(task), {"model": MODEL}, offset=offset)
    assert (reply.send_from.task, reply.send_from.offset) == (task.id, 0)


async def test_hashes_may_follow_the_bytes(house: House) -> None:
    client, task = await asked(house)
    call = client.stub.Upload(metadata=[(TICKET, client.welcome.ticket)])
    await call.write(pb.UploadMessage(begin=pb.UploadBegin(result=result(task, sha256=b""))))
    await call.write(pb.UploadMessage(data=MODEL))
    await call.write(pb.UploadMessage(end=pb.UploadEnd(sha256={"model": hashlib.sha256(MODEL).digest()})))
    await call.done_writing()
    assert (await call).verdict.outcome == pb.OUTCOME_COMMITTED


async def test_or_they_are_missing_and_the_result_is_refused(house: House) -> None:
    client, task = await asked(house, round={"retries": 0})
    verdict = (await client.upload(result(task, sha256=b""), {"model": MODEL})).verdict
    assert (verdict.outcome, verdict.reason) == (pb.OUTCOME_REJECTED, "bad-hash")
    assert house.spool.used("default") == 0


async def test_other_bytes_than_announced_are_refused(house: House) -> None:
    client, task = await asked(house, round={"retries": 0})
    verdict = (await client.upload(result(task), {"model": weights(2.0, size=LARGE)})).verdict
    assert (verdict.reason, (await house.event("update.refused")).body["reason"]) == ("bad-hash", "bad-hash")


async def test_other_bytes_after_the_offset_are_refused(house: House) -> None:
    client, task = await asked(house, round={"retries": 0})
    await half(client, result(task), weights(2.0, size=LARGE))
    offset = (await client.upload(result(task), {"model": MODEL})).send_from.offset
    assert (await client.upload(result(task), {"model": MODEL}, offset=offset)).verdict.reason == "bad-hash"


async def test_fewer_bytes_than_announced_are_refused(house: House) -> None:
    client, task = await asked(house, round={"retries": 0})
    verdict = (await client.upload(result(task), {"model": MODEL[:-4]})).verdict
    assert verdict.reason == "bad-hash"
    assert "400,108 bytes came of the 400,112 announced" in verdict.detail


async def test_more_bytes_than_announced_are_refused_before_the_end(house: House) -> None:
    client, task = await asked(house, round={"retries": 0})
    verdict = (await client.upload(result(task), {"model": MODEL + MODEL})).verdict
    assert (verdict.reason, house.spool.used("default")) == ("too-large", 0)


async def test_bad_bytes_are_refused_while_more_would_come(house: House) -> None:
    client, task = await asked(house, round={"retries": 0})
    bad = weights(math.nan, size=LARGE)
    call = client.stub.Upload(metadata=[(TICKET, client.welcome.ticket)])
    await call.write(pb.UploadMessage(begin=pb.UploadBegin(result=result(task, bad))))
    await call.write(pb.UploadMessage(data=bad))
    verdict = (await call).verdict  # no end was said
    assert (verdict.reason, verdict.detail) == ("non-finite", "w has 100,000 NaN of 100,000")


async def test_a_result_far_larger_than_its_model_is_refused_before_its_bytes(house: House) -> None:
    client, task = await asked(house, round={"retries": 0})
    huge = result(task)
    huge.blobs["model"].size = 2**40
    verdict = (await client.upload(huge, {})).verdict
    assert (verdict.reason, house.spool.used("default")) == ("too-large", 0)


async def test_a_full_spool_settles_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, limits={"spool_bytes": len(MODEL) - 1}) as house:
        client, task = await asked(house)
        house.network._reception._result_max = 2**40  # it is the spool's word that is asked for
        refusal = (await client.upload(result(task), {"model": MODEL})).refusal
        assert (refusal.reason, refusal.retry) == ("spool-full", True)
        house.spool.limit = 2**30
        assert (await client.upload(result(task), {"model": MODEL})).verdict.outcome == pb.OUTCOME_COMMITTED


async def test_one_half_upload_of_a_task_is_kept(house: House) -> None:
    client, task = await asked(house)
    for n in range(3):
        await half(client, result(task, result_id=f"r{n}"))
        assert house.spool.used("default") == len(MODEL)
    reply = await client.upload(result(task, result_id="last"), {"model": MODEL})
    assert reply.verdict.outcome == pb.OUTCOME_COMMITTED
    assert house.spool.used("default") == 0


async def test_one_that_was_called_off_while_its_file_was_made_is_none_beside_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, task = await asked(house)
    upload, reached, go, made = house.spool.upload, asyncio.Event(), threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def late(*where: Any, **more: Any) -> Upload:
        loop.call_soon_threadsafe(reached.set)
        go.wait(10)
        try:
            return upload(*where, **more)
        finally:
            loop.call_soon_threadsafe(made.set)

    with monkeypatch.context() as patched:
        patched.setattr(house.spool, "upload", late)
        call = asyncio.create_task(
            house.network._reception.upload(client.welcome.client, begun(task, "r1"), 0, nothing)
        )
        await reached.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        go.set()
        await made.wait()
    await half(client, result(task, result_id="r2"))
    assert house.spool.used("default") == len(MODEL)


def begun(task: pb.Task, result_id: str) -> pb.UploadBegin:
    return pb.UploadBegin(result=result(task, result_id=result_id))


async def nothing() -> bytes | None:
    """A call that has ended."""
    return None


async def test_a_settled_result_is_answered_again_before_its_bytes(house: House) -> None:
    client, task = await asked(house)
    await client.upload(result(task), {"model": MODEL})
    call = client.stub.Upload(metadata=[(TICKET, client.welcome.ticket)])
    await call.write(pb.UploadMessage(begin=pb.UploadBegin(result=result(task))))
    assert (await call).verdict.model == "digits-1/1"


async def test_the_same_upload_twice_at_once_is_one_result(house: House) -> None:
    client, other = await house.joined("a"), await house.joined("b")
    await house.session(size=LARGE)
    task, _ = await client.next("task"), await other.next("task")
    first = client.stub.Upload(metadata=[(TICKET, client.welcome.ticket)])
    await first.write(pb.UploadMessage(begin=pb.UploadBegin(result=result(task))))
    await first.write(pb.UploadMessage(data=MODEL[:HALF]))
    second = await client.upload(result(task), {"model": MODEL})  # the first one's stream is cut for it
    assert await first.code() is grpc.StatusCode.ABORTED
    reply = await client.upload(result(task), {"model": MODEL}, offset=second.send_from.offset)
    assert reply.WhichOneof("kind") == "receipt"


async def test_a_result_that_waits_for_its_commit_is_not_taken_back_by_one_that_lies_of_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "COMPANY", 0.5)
    client, other = await house.joined("a"), await house.joined("b")
    await house.session(size=LARGE, clients={"min": 2})
    task, others = await client.next("task"), await other.next("task")
    put, waits = house.runner.inbox.put, asyncio.Event()

    def noted(item: Any) -> None:
        put(item)
        if isinstance(item, Entry) and isinstance(item.note, Taken):
            waits.set()

    monkeypatch.setattr(house.runner.inbox, "put", noted)
    call = client.stub.Upload(metadata=[(TICKET, client.welcome.ticket)])
    await call.write(pb.UploadMessage(begin=pb.UploadBegin(result=result(task))))
    await call.write(pb.UploadMessage(data=MODEL))
    await call.write(pb.UploadMessage(end=pb.UploadEnd()))
    await waits.wait()
    call.cancel()
    async with asyncio.timeout(10):
        lie = await client.upload(result(task, sha256=bytes(32)), {"model": b""}, offset=len(MODEL))
        assert lie.WhichOneof("kind") == "receipt"
        await other.upload(result(others), {"model": MODEL})
        assert (await house.event("round.committed")).body["updates"] == 2


async def test_an_upload_whose_task_is_settled_meanwhile_is_cut_and_answered(house: House) -> None:
    client = await house.joined("a")
    session = await house.session(size=LARGE)
    task = await client.next("task")
    call = client.stub.Upload(metadata=[(TICKET, client.welcome.ticket)])
    await call.write(pb.UploadMessage(begin=pb.UploadBegin(result=result(task))))
    await call.write(pb.UploadMessage(data=MODEL[:HALF]))
    await house.desk.stop(session)
    verdict = (await call).verdict
    assert (verdict.outcome, verdict.reason) == (pb.OUTCOME_REJECTED, "session-stopped")


async def test_many_uploads_pass_where_little_memory_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inflow, "BATCH", 10_000)
    async with opened(tmp_path, limits={"intake_bytes": 1}) as house:
        clients = [await house.joined(f"c{n}") for n in range(4)]
        await house.session(size=LARGE)
        tasks = [await client.next("task") for client in clients]
        uploads = [c.upload(result(t), {"model": MODEL}) for c, t in zip(clients, tasks, strict=True)]
        replies = await asyncio.gather(*uploads)
        assert {reply.WhichOneof("kind") for reply in replies} <= {"receipt", "verdict"}
        assert (await house.event("round.committed")).body["updates"] == 4


@pytest.mark.parametrize("metadata", [[], [(TICKET, "ticket-1")]])
async def test_an_upload_without_a_ticket_is_not_read(house: House, metadata: list[tuple[str, str]]) -> None:
    client, _ = await asked(house)
    call = client.stub.Upload(metadata=metadata)
    assert await call.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_another_clients_ticket_does_not_open_a_task(house: House) -> None:
    thief = await house.joined("b", capabilities=[])
    _, task = await asked(house)
    assert (await thief.upload(result(task), {"model": MODEL})).verdict.outcome == pb.OUTCOME_LOST


@pytest.mark.parametrize(
    "messages",
    [
        [pb.UploadMessage(data=b"weights")],
        [pb.UploadMessage(begin=pb.UploadBegin())],
        [pb.UploadMessage(begin=pb.UploadBegin(result=pb.Result(task="t1", result_id="r1")))],
        [
            pb.UploadMessage(
                begin=pb.UploadBegin(
                    result=pb.Result(task="t1", result_id="r1", blobs={"model": pb.Blob(size=1, inline=b"x")})
                )
            )
        ],
    ],
)
async def test_what_is_no_upload_breaks_the_protocol(house: House, messages: list[pb.UploadMessage]) -> None:
    client = await house.joined("a")
    call = client.stub.Upload(metadata=[(TICKET, client.welcome.ticket)])
    for message in messages:
        await call.write(message)
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_second_begin_breaks_it_too(house: House) -> None:
    client, task = await asked(house)
    call = client.stub.Upload(metadata=[(TICKET, client.welcome.ticket)])
    for _ in range(2):
        await call.write(pb.UploadMessage(begin=pb.UploadBegin(result=result(task))))
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await call.details() == "an upload is begin, then data, then end"
