"""Model bytes on their way to clients."""

import hashlib
import os
from pathlib import Path

import grpc
import pytest
from kernel.tests.network.conftest import LARGE, House, weights

from fedk.network.download import READ_AHEAD
from fedk.network.server import CHUNK
from fedk.testing.protocol import ScriptedClient
from fedk_protocol.v1 import federation_pb2 as pb

SIZE = 5 * CHUNK // 4  # floats: five chunks and the header
MANY = (READ_AHEAD + 1) * CHUNK // 4  # floats, whose chunks are not all kept


async def asked(house: House, size: int = SIZE) -> tuple[ScriptedClient, pb.Blob, str]:
    client = await house.joined("a")
    session = await house.session(size=size)
    return client, (await client.next("task")).inputs["model"], session


def damage(folder: Path, sha256: bytes) -> None:
    """Write over the last byte of a model's file, as nobody does: what comes next tells where it was read."""
    file = next(folder.rglob(sha256.hex()))
    status = file.stat()
    with file.open("r+b") as opened:
        opened.seek(-1, os.SEEK_END)
        opened.write(b"!")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


async def failure(client: ScriptedClient, blob: pb.Blob, offset: int = 0) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.fetch(blob, offset)
    return caught.value.code(), caught.value.details() or ""


async def test_a_model_comes_in_chunks_and_has_its_hash(house: House) -> None:
    client, blob, session = await asked(house)
    data = await client.fetch(blob)
    assert (hashlib.sha256(data).digest(), data) == (blob.sha256, weights(size=SIZE))
    sent, _ = house.network.traffic(session)
    assert len(data) < sent < len(data) + 1_000


async def test_a_broken_one_goes_on_at_its_offset(house: House) -> None:
    client, blob, _ = await asked(house)
    assert await client.fetch(blob, CHUNK + 7) == weights(size=SIZE)[CHUNK + 7 :]


async def test_at_its_end_there_is_nothing_and_beyond_it_is_refused(house: House) -> None:
    client, blob, _ = await asked(house, LARGE)
    assert await client.fetch(blob, blob.size) == b""
    code, text = await failure(client, blob, blob.size + 1)
    assert code is grpc.StatusCode.OUT_OF_RANGE
    assert "beyond the blob's 400,112 bytes" in text


async def test_a_blob_that_no_task_brings_is_not_found(house: House) -> None:
    client, _, _ = await asked(house, LARGE)
    other = await house.blobs.put("default", weights(9.0))
    assert (await failure(client, pb.Blob(sha256=other.sha256)))[0] is grpc.StatusCode.NOT_FOUND
    assert (await failure(client, pb.Blob(sha256=b"short")))[0] is grpc.StatusCode.NOT_FOUND


async def test_without_a_ticket_nothing_is_read(house: House) -> None:
    client, blob, _ = await asked(house, LARGE)
    stranger = await house.client("b")
    assert (await failure(stranger, blob))[0] is grpc.StatusCode.UNAUTHENTICATED
    assert await client.fetch(blob)


async def test_a_ticket_outlives_its_stream_for_a_while(house: House) -> None:
    client, blob, _ = await asked(house, LARGE)
    await client.cut()
    await house.event("client.lost")
    assert await client.fetch(blob) == weights(size=LARGE)


async def test_damaged_bytes_are_data_loss_and_paths_stay_here(house: House) -> None:
    client, blob, _ = await asked(house, LARGE)
    span = await house.blobs.span("default", blob.sha256)
    with open(span.path, "r+b") as file:  # noqa: PTH123, ASYNC230  # a disk does so too
        file.truncate(1_000)
    code, text = await failure(client, blob)
    assert code is grpc.StatusCode.DATA_LOSS
    assert blob.sha256.hex()[:8] in text
    assert span.path not in text


async def test_a_model_that_was_damaged_is_sent_whole_once_it_is_healed(house: House, tmp_path: Path) -> None:
    client, blob, _ = await asked(house)
    damage(tmp_path, blob.sha256)
    data = weights(size=SIZE)
    assert await client.fetch(blob) == data[:-1] + b"!"
    await house.blobs.put("default", data)
    assert await client.fetch(blob) == data


async def test_a_client_that_hangs_up_leaves_nothing_open(house: House) -> None:
    client, blob, _ = await asked(house)
    call = client.stub.Download(pb.BlobRequest(sha256=blob.sha256), metadata=client._metadata())
    await call.read()
    call.cancel()
    await house.network._members.until(lambda: not house.network._transfers)
    assert await client.fetch(blob) == weights(size=SIZE)


async def test_nothing_of_a_large_model_is_in_memory_once_nobody_downloads_it(house: House, tmp_path: Path) -> None:
    client, blob, _ = await asked(house, MANY)
    data = await client.fetch(blob)
    damage(tmp_path, blob.sha256)
    assert await client.fetch(blob) == data[:-1] + b"!"
