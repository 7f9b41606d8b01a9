"""A crowd: many clients in one process, each with a connection of its own, that give back what they are given.

    python benchmarks/crowd.py HOST:PORT CLIENTS [WEIGHTS]

Bare messages over grpc.aio: nothing is trained, checked or kept, so that what a round takes is the server's. Says
`joined` once all are in, and ends when its standard input does. WEIGHTS (float32, 10,000) are the initial model's.
"""

import asyncio
import hashlib
import json
import resource
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from fedk_protocol.metadata import TICKET
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1.federation_pb2_grpc import FederationStub
from fedk_protocol.version import VERSION

if TYPE_CHECKING:
    from fedk_protocol.v1.federation_pb2_grpc import FederationAsyncStub  # a type of the stubs alone

Metadata = tuple[tuple[str, str], ...]
Stream = grpc.aio.StreamStreamCall[pb.ClientMessage, pb.ServerMessage]

AT_ONCE = 100  # connections that are being opened
FILES = 100  # open files beside the connections


class Crowd:
    """`await Crowd(address, 1000, weights=10_000).join()`, then sessions may ask it; `close` ends it."""

    def __init__(self, address: str, clients: int, *, weights: int = 10_000) -> None:
        self.heard: Counter[str] = Counter()  # messages by kind
        self._address, self._clients = address, clients
        self._initial = model(weights)
        self._blobs: dict[bytes, bytes] = {}  # what was downloaded: once for the whole crowd
        self._members: set[asyncio.Task[None]] = set()

    async def join(self) -> None:
        """All are welcomed. Raises what went wrong first."""
        gate = asyncio.Semaphore(AT_ONCE)
        welcomed = [asyncio.get_running_loop().create_future() for _ in range(self._clients)]
        for n, done in enumerate(welcomed):
            self._members.add(asyncio.create_task(self._member(f"crowd-{n}", gate, done)))
        await asyncio.gather(*welcomed)

    async def until(self, over: asyncio.Event) -> None:
        """Wait for it, or for the first stream's end. Raises what ended a client, unless that was the server."""
        waiting = asyncio.create_task(over.wait())
        done, _ = await asyncio.wait({waiting, *self._members}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        for one in done:
            one.result()

    async def close(self) -> None:
        """Every stream is cut."""
        for member in self._members:
            member.cancel()
        await asyncio.wait(self._members)

    async def _member(self, name: str, gate: asyncio.Semaphore, welcomed: "asyncio.Future[None]") -> None:
        try:
            async with gate:
                stub, stream, welcome = await self._welcomed(name)
        except (grpc.aio.AioRpcError, AttributeError) as error:  # AttributeError: the stream's end has no `welcome`
            welcomed.set_exception(RuntimeError(f"{name} was not let in: {error}"))
            return
        welcomed.set_result(None)
        await self._serve(stub, stream, welcome)

    async def _welcomed(self, name: str) -> "tuple[FederationAsyncStub, Stream, pb.Welcome]":
        """By the server, or by the combiner that it is sent to."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        metadata: Metadata = ()
        address = self._address
        while True:
            stub = FederationStub(grpc.aio.insecure_channel(address, options))
            stream = stub.Connect(metadata=metadata)
            await stream.write(pb.ClientMessage(hello=hello(name)))
            answer: Any = await stream.read()
            if not answer.HasField("redirect"):
                return stub, stream, answer.welcome
            address, metadata = answer.redirect.addresses[0], ((TICKET, answer.redirect.ticket),)

    async def _serve(self, stub: "FederationAsyncStub", stream: Stream, welcome: pb.Welcome) -> None:
        metadata = ((TICKET, welcome.ticket),)
        async for message in _words(stream):
            self.heard[kind := message.WhichOneof("kind")] += 1
            if kind == "task":
                result, data = await self._answer(stub, message.task, metadata)
                if len(data) <= welcome.limits.inline_max:
                    await stream.write(pb.ClientMessage(result=result))
                else:
                    await stub.Upload(upload(result, data, welcome.limits.chunk), metadata=metadata)

    async def _answer(self, stub: "FederationAsyncStub", task: pb.Task, metadata: Metadata) -> tuple[pb.Result, bytes]:
        result = pb.Result(task=task.id, result_id=uuid.uuid4().hex, num_examples=1)
        if task.kind == "validate":
            return result, b""
        blob, data = pb.Blob(codec="safetensors", representation=pb.REPRESENTATION_FULL), self._initial
        if task.kind != "init":
            blob.CopyFrom(task.inputs["model"])
            data = blob.inline or await self._fetch(stub, blob.sha256, metadata)
        else:
            blob.sha256, blob.size, blob.inline = hashlib.sha256(data).digest(), len(data), data
            if len(data) > 64 * 2**10:
                blob.ClearField("inline")
        result.blobs["model"].CopyFrom(blob)
        return result, data

    async def _fetch(self, stub: "FederationAsyncStub", sha256: bytes, metadata: Metadata) -> bytes:
        """Each client downloads it, and the crowd keeps one."""
        parts = [c.data async for c in stub.Download(pb.BlobRequest(sha256=sha256), metadata=metadata)]
        if sha256 not in self._blobs:
            self._blobs = {sha256: b"".join(parts)}
        return self._blobs[sha256]


async def _words(stream: Stream) -> AsyncIterator[Any]:
    """One by one, also those that travel together."""
    message: Any
    while (message := await stream.read()) is not grpc.aio.EOF:
        for word in (message, *message.also):
            yield word


def hello(name: str) -> pb.Hello:
    """Of a client that can do everything."""
    return pb.Hello(
        version=pb.Version(major=VERSION[0], minor=VERSION[1]),
        project="default",
        name=name,
        instance=uuid.uuid4().hex,
        capabilities=["init", "train", "validate"],
        also=True,
        software="crowd",
    )


def model(weights: int) -> bytes:
    """Zeros, as safetensors."""
    tensor = {"dtype": "F32", "shape": [weights], "data_offsets": [0, 4 * weights]}
    header = json.dumps({"weights": tensor}).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + bytes(4 * weights)


async def upload(result: pb.Result, data: bytes, chunk: int) -> AsyncIterator[pb.UploadMessage]:
    """The messages of an upload."""
    yield pb.UploadMessage(begin=pb.UploadBegin(result=result))
    for at in range(0, len(data), chunk):
        yield pb.UploadMessage(data=data[at : at + chunk])
    yield pb.UploadMessage(end=pb.UploadEnd())


async def main(address: str, clients: int, weights: int = 10_000) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, clients + FILES)), hard))
    crowd, over = Crowd(address, clients, weights=weights), asyncio.Event()
    try:
        await crowd.join()
        print("joined", flush=True)
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), over.set)
        await crowd.until(over)
    finally:
        await crowd.close()
    print(json.dumps(crowd.heard), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
