"""A scripted client: it says on its stream what the test says, and keeps nothing."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc

from fedk.testing.protocol.mailbox import Mailbox
from fedk_protocol.metadata import TICKET
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1.federation_pb2_grpc import FederationStub
from fedk_protocol.version import VERSION


class ScriptedClient:
    """`async with ScriptedClient(address, "a") as client`, then `await client.join()`."""

    def __init__(self, address: str, name: str = "client-1", *, project: str = "default", instance: str = "") -> None:
        self.address, self.name, self.project = address, name, project
        self.instance = instance or uuid.uuid4().hex
        self.inbox: Mailbox[pb.ServerMessage] = Mailbox()
        self.welcome = pb.Welcome()
        self._channel = grpc.aio.insecure_channel(
            address,
            # a channel of its own for each client, as processes have; the largest task stays below the server's limit
            options=[("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)],
        )
        self.stub = FederationStub(self._channel)
        self._call: grpc.aio.StreamStreamCall[pb.ClientMessage, pb.ServerMessage] | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()
        await self._channel.close()

    def hello(self, **fields: Any) -> pb.Hello:
        """The Hello that `open` and `join` send; `fields` replace or add."""
        said: dict[str, Any] = {
            "version": pb.Version(major=VERSION[0], minor=VERSION[1]),
            "project": self.project,
            "name": self.name,
            "instance": self.instance,
            "capabilities": ["init", "train", "validate"],
            "software": "scripted",
        }
        return pb.Hello(**{**said, **fields})

    async def dial(self) -> None:
        """Open the stream without a word."""
        self.inbox = Mailbox()
        self._call = self.stub.Connect()
        self._reader = asyncio.ensure_future(self._read(self._call, self.inbox))

    async def open(self, **hello: Any) -> None:
        """Open the stream and say Hello."""
        await self.dial()
        await self.send(hello=self.hello(**hello))

    async def welcomed(self) -> pb.Welcome:
        """Await Welcome and keep its ticket and limits. Raises StreamEnded where the server refuses."""
        self.welcome = await self.next("welcome")
        return self.welcome

    async def join(self, **hello: Any) -> pb.Welcome:
        """Open the stream, say Hello, await Welcome."""
        await self.open(**hello)
        return await self.welcomed()

    async def send(self, **message: Any) -> None:
        """Send one message, for example `send(log=Log(text="hello"))`."""
        assert self._call is not None, "open the stream first"
        await self._call.write(pb.ClientMessage(**message))

    async def next(self, *kinds: str) -> Any:
        """The server's next message of these kinds ("task", "receipt", "verdict", "refusal", …)."""
        return await self.inbox.next(*kinds)

    async def leave(self, reason: str = "done") -> None:
        """Say goodbye, and see the stream end."""
        await self.send(goodbye=pb.Goodbye(reason=reason))
        assert self._call is not None
        await self._call.done_writing()
        await self.inbox.ended()

    async def cut(self) -> None:
        """End the stream without a word, as a process that dies."""
        call, reader, self._call, self._reader = self._call, self._reader, None, None
        if call is not None and reader is not None:
            call.cancel()
            await reader

    @staticmethod
    async def _read(
        call: grpc.aio.StreamStreamCall[pb.ClientMessage, pb.ServerMessage], inbox: Mailbox[pb.ServerMessage]
    ) -> None:
        try:
            async for message in call:
                for word in (message, *message.also):
                    inbox.put(word)
        except (grpc.RpcError, asyncio.CancelledError):
            pass  # the status says it
        inbox.end(f"{(await call.code()).name} {await call.details()}".strip())

    async def fetch(self, blob: pb.Blob, offset: int = 0) -> bytes:
        """A blob's bytes from `offset`, inline or downloaded."""
        if blob.HasField("inline"):
            return blob.inline[offset:]
        request = pb.BlobRequest(sha256=blob.sha256, offset=offset)
        return b"".join([chunk.data async for chunk in self.stub.Download(request, metadata=self._metadata())])

    async def answer(
        self,
        task: pb.Task,
        blobs: Mapping[str, bytes] | None = None,
        *,
        num_examples: int = 1,
        metrics: Mapping[str, float] | None = None,
        result_id: str = "",
        **fields: Any,
    ) -> pb.Result:
        """Answer a task: inline where every blob is small enough, else by Upload, whose reply lands in the inbox."""
        data = dict(blobs or {})
        result = pb.Result(
            task=task.id,
            result_id=result_id or uuid.uuid4().hex,
            blobs={name: _blob(content) for name, content in data.items()},
            num_examples=num_examples,
            metrics=metrics or {},
            **fields,
        )
        if all(len(content) <= self.welcome.limits.inline_max for content in data.values()):
            for name, content in data.items():
                result.blobs[name].inline = content
            await self.send(result=result)
        else:
            reply = await self.upload(result, data)
            # the four fields of a reply, each under the name that it has on the stream
            self.inbox.put(pb.ServerMessage(**{field.name: value for field, value in reply.ListFields()}))
        return result

    async def upload(
        self, result: pb.Result, blobs: Mapping[str, bytes], *, offset: int = 0, stop: int | None = None
    ) -> pb.UploadReply:
        """Upload a result's bytes from `offset`; with `stop`, break off there (raises grpc.aio.AioRpcError)."""
        data = b"".join(blobs[name] for name in sorted(blobs))
        call = self.stub.Upload(metadata=self._metadata())
        try:
            await call.write(pb.UploadMessage(begin=pb.UploadBegin(result=result, offset=offset)))
            async for piece in _pieces(data[:stop], offset, self.welcome.limits.chunk or 262_144):
                await call.write(pb.UploadMessage(data=piece))
            if stop is not None:
                call.cancel()
            else:
                await call.write(pb.UploadMessage(end=pb.UploadEnd()))
                await call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            pass  # the server has answered before the end: its reply or status says why
        return await call

    async def echo(self) -> None:
        """Answer every task with the model that it brings, until the stream ends or this is cancelled."""
        while True:
            task = await self.next("task")
            blobs = {} if task.kind == "validate" else {"model": await self.fetch(task.inputs["model"])}
            await self.answer(task, blobs, metrics=dict.fromkeys(task.wants, 1.0))

    def _metadata(self) -> Sequence[tuple[str, str]]:
        return [(TICKET, self.welcome.ticket)]


def kept(result: pb.Result, blobs: Mapping[str, bytes]) -> pb.Kept:
    """How a result without a verdict stands in Hello.outbox."""
    data = b"".join(blobs[name] for name in sorted(blobs))
    return pb.Kept(task=result.task, result_id=result.result_id, sha256=hashlib.sha256(data).digest(), size=len(data))


def _blob(content: bytes) -> pb.Blob:
    return pb.Blob(
        sha256=hashlib.sha256(content).digest(),
        size=len(content),
        codec="safetensors",
        representation=pb.REPRESENTATION_FULL,
    )


async def _pieces(data: bytes, offset: int, chunk: int) -> AsyncIterator[bytes]:
    for at in range(offset, len(data), chunk):
        yield data[at : at + chunk]
