"""How the server takes its leave of clients."""

import asyncio
import time
from pathlib import Path

import pytest
from kernel.tests.network.conftest import LARGE, House, opened, weights

from fedk.network import server
from fedk_protocol.metadata import TICKET
from fedk_protocol.v1 import federation_pb2 as pb


async def test_idle_clients_are_told_and_nobody_is_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await house.joined("a")
    monkeypatch.setattr(server, "FAREWELL", 60.0)
    async with asyncio.timeout(30):  # who is waited for is so for a minute
        await house.network.drain(60)
        await house.network.stop()
    await client.next("drain")
    assert await client.inbox.ended() == "UNAVAILABLE the server has stopped"


async def test_an_answer_under_way_is_taken_and_no_task_follows(house: House) -> None:
    client = await house.joined("a")
    await house.session(rounds=2)
    task = await client.next("task")
    draining = asyncio.create_task(house.network.drain(60))
    await client.next("drain")
    await client.answer(task, {"model": weights(1.0)})
    assert (await client.next("verdict")).task == task.id
    await draining
    await house.event("round.committed")
    await house.event("round.open")
    assert client.inbox.kinds().count("task") == 1


async def test_an_upload_under_way_is_taken(house: House) -> None:
    client = await house.joined("a")
    await house.session(size=LARGE)
    task, data = await client.next("task"), weights(1.0, size=LARGE)
    blob = pb.Blob(sha256=task.inputs["model"].sha256, size=len(data))
    call = client.stub.Upload(metadata=[(TICKET, client.welcome.ticket)])
    result = pb.Result(task=task.id, result_id="r1", num_examples=1, blobs={"model": blob})
    await call.write(pb.UploadMessage(begin=pb.UploadBegin(result=result)))
    draining = asyncio.create_task(house.network.drain(60))
    await client.next("drain")
    await call.write(pb.UploadMessage(data=data))
    await call.write(pb.UploadMessage(end=pb.UploadEnd()))
    assert (await call).verdict.reason == "bad-hash"
    await draining


async def test_a_client_that_goes_on_training_is_not_waited_for_longer_than_asked(house: House) -> None:
    client = await house.joined("a")
    await house.session()
    await client.next("task")
    began = time.monotonic()
    await house.network.drain(0.05)
    assert time.monotonic() - began > 0.04


async def test_who_comes_while_it_drains_is_told_to_come_back(house: House) -> None:
    await house.network.drain(0)
    client = await house.client("a")
    await client.open()
    refusal = await client.next("refusal")
    assert (refusal.reason, refusal.retry) == ("draining", True)
    assert (await client.inbox.ended()).startswith("UNAVAILABLE draining: ")


async def test_who_is_taken_in_while_it_stops_is_dismissed_at_once(house: House) -> None:
    reached, go = house.hold_joining()
    client = await house.client("a")
    await client.open()
    await reached.wait()
    await house.network.drain(0)
    stopping = asyncio.create_task(house.network.stop())
    go.set()
    await stopping
    assert (await client.inbox.ended()).startswith("UNAVAILABLE")


async def test_a_client_at_work_comes_back_to_the_next_server_and_is_answered(tmp_path: Path) -> None:
    async with opened(tmp_path) as first:
        client = await first.joined("a")
        await first.session()
        task = await client.next("task")
        first.doors.pop_all()  # the client outlives this server
    await client.inbox.ended()
    async with opened(tmp_path, address=first.address) as second:
        await client.join(working=[task.id])
        await client.answer(task, {"model": weights(1.0)})
        assert (await client.next("verdict")).outcome == pb.OUTCOME_COMMITTED
        assert (await second.event("session.finished")).body["why"] == ""
        await client.__aexit__(None, None, None)


async def test_a_stopped_server_frees_its_port(tmp_path: Path, house: House) -> None:
    await house.network.stop()
    async with opened(tmp_path / "other", address=house.address) as other:
        assert other.address == house.address


@pytest.mark.parametrize("grace", [0, 0.01])
async def test_stopping_a_server_that_nobody_has_joined_is_quick(tmp_path: Path, grace: float) -> None:
    async with opened(tmp_path) as house:
        await house.network.drain(grace)
