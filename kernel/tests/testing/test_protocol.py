"""The two scripted ends, against each other."""

from typing import Any

import grpc
import pytest

from fedk.testing.protocol import Connection, ScriptedClient, ScriptedServer, StreamEnded, kept
from fedk_protocol.v1 import federation_pb2 as pb

LARGE = bytes(range(256)) * 4096  # 1 MiB


async def test_a_small_result_travels_inline_and_is_settled() -> None:
    async with ScriptedServer() as server, ScriptedClient(server.address, "a") as client:
        there = await joined(server, client, attributes={"site": "north"})
        assert (there.hello.name, there.hello.attributes["site"]) == ("a", "north")
        await there.send(task=pb.Task(id="t1", kind="train", inputs={"model": server.offer(b"weights")}))

        task = await client.next("task")
        await client.answer(task, {"model": await client.fetch(task.inputs["model"])}, num_examples=7)
        result = await there.next("result")
        assert (result.blobs["model"].inline, result.num_examples) == (b"weights", 7)
        await there.verdict(result, pb.OUTCOME_COMMITTED, model="digits-1/1")
        assert (await client.next("verdict")).model == "digits-1/1"


async def test_a_large_result_goes_up_beside_the_stream() -> None:
    async with ScriptedServer() as server, ScriptedClient(server.address) as client:
        there = await joined(server, client)
        await there.send(task=pb.Task(id="t1", kind="train", inputs={"model": server.offer(LARGE)}))
        task = await client.next("task")
        model = await client.fetch(task.inputs["model"])
        result = await client.answer(task, {"model": model, "control": b"small"})
        uploaded = await server.uploaded()
        assert (uploaded.blob("model"), uploaded.blob("control")) == (LARGE, b"small")
        assert (await client.next("receipt")).result_id == result.result_id


async def test_a_cut_upload_goes_on_where_the_server_says() -> None:
    async with ScriptedServer() as server, ScriptedClient(server.address) as client:
        await joined(server, client)
        result = pb.Result(task="t1", result_id="r1", blobs={"model": server.offer(LARGE)})
        server.cut_upload = 300_000
        with pytest.raises(grpc.aio.AioRpcError):
            await client.upload(result, {"model": LARGE})
        reply = await client.upload(result, {"model": LARGE})
        assert reply.send_from.offset >= 300_000
        reply = await client.upload(result, {"model": LARGE}, offset=reply.send_from.offset)
        assert reply.WhichOneof("kind") == "receipt"
        assert (await server.uploaded()).blob("model") == LARGE


async def test_a_cut_download_goes_on_at_its_offset() -> None:
    async with ScriptedServer() as server, ScriptedClient(server.address) as client:
        await joined(server, client)
        blob = server.offer(LARGE)
        server.cut_download = 700_000
        with pytest.raises(grpc.aio.AioRpcError):
            await client.fetch(blob)
        assert await client.fetch(blob, offset=700_000) == LARGE[700_000:]
        assert [offset for _, offset in server.downloads] == [0, 700_000]


async def test_an_upload_without_the_ticket_is_refused() -> None:
    async with ScriptedServer() as server, ScriptedClient(server.address) as client:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.upload(pb.Result(task="t1", result_id="r1"), {})
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_refused_client_sees_the_reason_and_the_end() -> None:
    async with ScriptedServer() as server, ScriptedClient(server.address) as client:
        await client.open()
        await (await server.connection()).refuse("version", "client 2.0, server 1.0")
        assert (await client.next("refusal")).reason == "version"
        with pytest.raises(StreamEnded, match="waiting for task"):
            await client.next("task")


async def test_a_client_comes_back_to_the_same_address_with_its_outbox() -> None:
    async with ScriptedServer() as server, ScriptedClient(server.address) as client:
        there = await joined(server, client)
        result = await client.answer(pb.Task(id="t1"), {"model": b"weights"})
        await there.next("result")
        await server.stop()
        assert (await client.inbox.ended()).startswith("UNAVAILABLE")
        await server.start()
        there = await joined(server, client, outbox=[kept(result, {"model": b"weights"})])
        assert there.hello.outbox[0].result_id == result.result_id


async def test_a_stream_that_the_script_cuts_ends_as_unavailable() -> None:
    async with ScriptedServer() as server, ScriptedClient(server.address) as client:
        (await joined(server, client)).cut()
        assert (await client.inbox.ended()).startswith("UNAVAILABLE")


async def test_the_server_sees_a_client_leave() -> None:
    async with ScriptedServer() as server, ScriptedClient(server.address) as client:
        there = await joined(server, client)
        await client.leave("tired")
        assert (await there.next("goodbye")).reason == "tired"
        assert await there.inbox.ended() == "the client is done"


async def joined(server: ScriptedServer, client: ScriptedClient, **hello: Any) -> Connection:
    await client.open(**hello)
    there = await server.joined()
    await client.welcomed()
    return there
