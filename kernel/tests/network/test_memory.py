"""What one client can make the server hold: small messages that are large once they are parsed, and calls without end."""

import asyncio
import errno
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
from kernel.tests.network.conftest import LARGE, House, opened, weights

from fedk.network import hello, reception, server
from fedk.network.calls import Ended
from fedk_protocol.v1 import federation_pb2 as pb


async def test_a_hello_of_a_million_entries_is_refused_before_it_is_parsed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[int] = []
    monkeypatch.setattr(hello, "joining", lambda found: parsed.append(len(found.outbox)))
    client = await house.client("a")
    await client.open(outbox=[pb.Kept()] * 1_000_000)
    assert "INVALID_ARGUMENT Hello has 2,0" in await client.inbox.ended()
    assert parsed == []


async def test_a_hello_with_as_much_as_is_allowed_is_welcome(house: House) -> None:
    kept = [pb.Kept(task=f"{n:064}", result_id=f"{n:064}", sha256=b"h" * 32, size=2**40) for n in range(1_000)]
    attributes = {f"{n:0100}": "x" * 1_000 for n in range(64)}
    working = [f"w{n:063}" for n in range(1_000)]
    await house.joined("a", outbox=kept, working=working, attributes=attributes, capabilities=["c" * 100] * 64)


async def test_a_result_that_is_all_words_ends_its_own_stream_only(house: House) -> None:
    other, bad = await house.joined("other"), await house.joined("bad")
    await bad.send(result=pb.Result(task="t", result_id="r", settings_read=[""] * 200_000))
    assert (await bad.inbox.ended()).startswith("INVALID_ARGUMENT a result of 400,")
    await other.send(result=pb.Result(task="t", result_id="r"))
    assert (await other.next("verdict")).reason == "lost"


async def test_so_does_the_begin_of_an_upload(house: House) -> None:
    client = await house.joined("a")
    result = pb.Result(task="t", result_id="r", blobs={"model": pb.Blob(size=9)}, settings_read=[""] * 200_000)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.upload(result, {"model": b"123456789"})
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "the begin of an upload has 400," in str(caught.value.details())


async def test_results_that_wait_for_memory_are_not_read_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that works on many tasks at a time may send many results at a time; they wait with the client."""
    async with opened(tmp_path, limits={"intake_bytes": 1}) as house:
        client = await house.joined("a", tasks=1_000)
        room = house.network._reception
        take, asked = room._allowance.take, asyncio.Event()
        await take(1)  # all that there is

        async def seen(size: int) -> None:
            asked.set()
            await take(size)

        monkeypatch.setattr(room._allowance, "take", seen)
        for _ in range(3):
            result = pb.Result(task="t", result_id="r", blobs={"model": pb.Blob(inline=bytes(60_000), size=60_000)})
            await client.send(result=result)
        member = next(iter(house.network._members))
        await asked.wait()
        await house.joined("b")  # long enough for the others, if they were read
        assert (len(member._answering), len(room._allowance._waiting)) == (0, 1)
        room._allowance.give(1)
        for _ in range(3):
            assert (await client.next("verdict")).reason == "lost"


async def test_a_result_counts_as_what_it_is_in_memory_and_in_the_spool_until_its_sync(house: House) -> None:
    room = house.network._reception
    inline = pb.Result(task="t", result_id="r", blobs={"model": pb.Blob(inline=bytes(1_000))})
    words = pb.Result(task="t", result_id="r", settings_read=[""] * 500)
    assert await room.room(inline, 1_103) == 2 * 1_103 + 103 * reception.UNPACKED
    assert await room.room(words, 1_100) == 1_100 * (2 + reception.UNPACKED)
    with pytest.raises(Ended):
        await room.room(words, reception.WORDS + 1)


async def test_a_result_that_a_fault_ends_gives_its_memory_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    client = await house.joined("a")
    await house.session()
    task = await client.next("task")
    (member,) = house.network._members
    monkeypatch.setattr(house.spool, "append", broken)
    await client.answer(task, {"model": weights(1.0)})
    assert await client.inbox.ended() == "INTERNAL a fault of this server: OSError"
    assert (house.network._reception._allowance._held, member._awaited) == (0, 0)


async def test_downloads_that_nobody_reads_are_bounded_for_each_client(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "TRANSFERS", 3)
    client, other = await house.joined("a"), await house.joined("b")
    await house.session(size=100 * LARGE)
    blob = (await client.next("task")).inputs["model"]
    request, ticket = pb.BlobRequest(sha256=blob.sha256), client._metadata()
    async with AsyncExitStack() as stack:
        for _ in range(3):
            call = client.stub.Download(request, metadata=ticket)
            stack.callback(call.cancel)
            await call.read()  # and no more
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.fetch(blob)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "3 downloads and uploads under way" in str(caught.value.details())
        assert await other.fetch(blob) == weights(size=100 * LARGE)
    await house.network._members.until(lambda: not house.network._transfers)
    assert len(await client.fetch(blob)) == blob.size
