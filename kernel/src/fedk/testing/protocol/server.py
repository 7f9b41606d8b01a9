"""A scripted server: it takes every call of the protocol, and does nothing on a stream but what the test says."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from fedk.testing.protocol.mailbox import PATIENCE, Mailbox
from fedk_protocol.metadata import TICKET
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1.federation_pb2_grpc import FederationServicer, add_FederationServicer_to_server
from fedk_protocol.version import VERSION

T = TypeVar("T")
_Context = grpc.aio.ServicerContext[Any, Any]


class Connection:
    """One client's stream. `hello` is what it began with; nothing was answered yet."""

    def __init__(self, server: "ScriptedServer", context: _Context, hello: pb.Hello) -> None:
        self.hello = hello
        self.inbox: Mailbox[pb.ClientMessage] = Mailbox()
        self.metadata = dict(context.invocation_metadata() or ())
        self._server, self._context = server, context
        self._over: asyncio.Future[tuple[grpc.StatusCode, str]] = asyncio.get_running_loop().create_future()

    async def send(self, **message: Any) -> None:
        """Send one message, for example `send(task=Task(id="t1", kind="train"))`."""
        await self.send_message(pb.ServerMessage(**message))

    async def send_message(self, message: pb.ServerMessage) -> None:
        """Send a message as it is, for what this version has no word for."""
        await self._context.write(message)

    async def send_together(self, *words: pb.ServerMessage) -> None:
        """In one message, to a client that takes them so; else one by one."""
        if self.hello.also:
            words[0].also.extend(words[1:])
        for word in words[:1] if self.hello.also else words:
            await self.send_message(word)

    async def welcome(self, client: str = "client-1", **fields: Any) -> None:
        """Answer the Hello; `fields` are those of Welcome."""
        said: dict[str, Any] = {
            "version": pb.Version(major=VERSION[0], minor=VERSION[1]),
            "client": client,
            "ticket": self._server.ticket,
            "limits": self._server.limits,
            "reconnect_base": 0.01,
            "reconnect_cap": 0.05,
            "server": "scripted",
        }
        await self.send(welcome=pb.Welcome(**{**said, **fields}))

    async def refuse(self, reason: str, detail: str = "", *, retry: bool = False) -> None:
        """Refuse the connection and end the stream."""
        await self.send(refusal=pb.Refusal(reason=reason, detail=detail, retry=retry))
        self.end()

    async def next(self, *kinds: str) -> Any:
        """The client's next message of these kinds ("result", "failure", "log", …)."""
        return await self.inbox.next(*kinds)

    async def receipt(self, result: pb.Result) -> None:
        await self.send(receipt=pb.Receipt(task=result.task, result_id=result.result_id))

    async def verdict(self, result: pb.Result, outcome: pb.Outcome.ValueType, **fields: Any) -> None:
        """Say the last word on a result; `fields` are those of Verdict."""
        await self.send(verdict=pb.Verdict(task=result.task, result_id=result.result_id, outcome=outcome, **fields))

    def end(self, code: grpc.StatusCode = grpc.StatusCode.OK, details: str = "") -> None:
        """End the stream with that status."""
        if not self._over.done():
            self._over.set_result((code, details))

    def cut(self) -> None:
        """End the stream as a failing server does."""
        self.end(grpc.StatusCode.UNAVAILABLE, "cut by the script")

    async def _serve(self, requests: AsyncIterator[pb.ClientMessage]) -> None:
        reader = asyncio.ensure_future(self._read(requests))
        try:
            code, details = await self._over
            if code is not grpc.StatusCode.OK:
                await self._context.abort(code, details)
        finally:
            reader.cancel()
            self.inbox.end("over")

    async def _read(self, requests: AsyncIterator[pb.ClientMessage]) -> None:
        async for message in requests:
            self.inbox.put(message)
        self.inbox.end("the client is done")
        self.end()


@dataclass(slots=True)
class Uploaded:
    """What has come of one result: all of it when `whole`."""

    result: pb.Result
    data: bytearray = field(default_factory=bytearray)
    offsets: list[int] = field(default_factory=list)  # where each attempt began
    whole: bool = False

    def blob(self, name: str) -> bytes:
        """The bytes of one of its blobs."""
        start = 0
        for each in sorted(self.result.blobs):
            size = self.result.blobs[each].size
            if each == name:
                return bytes(self.data[start : start + size])
            start += size
        raise KeyError(name)


class ScriptedServer(FederationServicer):
    """`async with ScriptedServer() as server`: clients dial `server.address`, the test awaits `server.connection()`.

    Downloads give what `offer` put there; uploads are taken and answered with a receipt. `cut_download` and
    `cut_upload` name a number of bytes after which the next such call breaks, once.
    """

    def __init__(self, address: str = "127.0.0.1:0", *, inline_max: int = 65_536, chunk: int = 262_144) -> None:
        self.address = address
        self.ticket = "ticket-1"
        self.limits = pb.Limits(inline_max=inline_max, message_max=4 * 2**20, chunk=chunk, result_max=2**32)
        self.blobs: dict[bytes, bytes] = {}
        self.uploads: dict[tuple[str, str], Uploaded] = {}
        self.upload_replies: dict[str, pb.UploadReply] = {}  # by task, instead of the receipt
        self.downloads: list[tuple[bytes, int]] = []  # hash and offset of each call
        self.locates: list[pb.LocateRequest] = []
        self.located = pb.LocateReply(here=True)  # the answer to them
        self.cut_download: int | None = None
        self.cut_upload: int | None = None
        self._connections: asyncio.Queue[Connection] = asyncio.Queue()
        self._arrived: asyncio.Queue[Uploaded | AssertionError] = asyncio.Queue()
        self._server: grpc.aio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; after `stop` on the same address as before."""
        # without so_reuseport = 0 a second server would share the port in silence
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        add_FederationServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(self.address)
        self.address = f"{self.address.rpartition(':')[0]}:{port}"
        await self._server.start()

    async def stop(self) -> None:
        """Cut every call and stop listening."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(None)

    def offer(self, data: bytes, *, codec: str = "safetensors") -> pb.Blob:
        """A blob for a task's inputs: inline if it is small enough, else to be downloaded."""
        sha256 = hashlib.sha256(data).digest()
        blob = pb.Blob(sha256=sha256, size=len(data), codec=codec, representation=pb.REPRESENTATION_FULL)
        if len(data) <= self.limits.inline_max:
            blob.inline = data
        else:
            self.blobs[sha256] = data
        return blob

    async def connection(self) -> Connection:
        """The next client that has said hello."""
        return await _soon(self._connections, "client has said hello")

    async def joined(self, **welcome: Any) -> Connection:
        """The next client, welcomed."""
        connection = await self.connection()
        await connection.welcome(**welcome)
        return connection

    async def uploaded(self) -> Uploaded:
        """The next result that was uploaded whole. Raises AssertionError for one that is not what it claims to be."""
        arrived = await _soon(self._arrived, "result was uploaded")
        if isinstance(arrived, AssertionError):
            raise arrived
        return arrived

    async def Connect(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802 — the generated name; it writes to the context
        first = await anext(request_iterator, None)
        if first is None or first.WhichOneof("kind") != "hello":
            await _violated(context, "the first message must be Hello")
            return
        connection = Connection(self, context, first.hello)
        self._connections.put_nowait(connection)
        await connection._serve(request_iterator)

    async def Download(self, request: pb.BlobRequest, context: Any) -> AsyncIterator[pb.Chunk]:  # noqa: N802 — the generated name
        await self._check_ticket(context)
        self.downloads.append((request.sha256, request.offset))
        data = self.blobs.get(request.sha256)
        if data is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no blob {request.sha256.hex()[:8]}")
            return
        stop, self.cut_download = self.cut_download, None
        end = len(data) if stop is None else min(len(data), stop)
        for at in range(request.offset, end, self.limits.chunk):
            yield pb.Chunk(data=data[at : min(end, at + self.limits.chunk)])
        if stop is not None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "cut by the script")

    async def Upload(self, request_iterator: Any, context: Any) -> pb.UploadReply:  # noqa: N802 — the generated name
        await self._check_ticket(context)
        first = await anext(request_iterator, None)
        if first is None or first.WhichOneof("kind") != "begin":
            return await _violated(context, "the first message must be begin")
        result, offset = first.begin.result, first.begin.offset
        key = (result.task, result.result_id)
        upload = self.uploads.setdefault(key, Uploaded(result))
        upload.offsets.append(offset)
        if offset != len(upload.data):
            return pb.UploadReply(send_from=pb.SendFrom(task=key[0], result_id=key[1], offset=len(upload.data)))
        if not upload.whole:
            await self._take(upload, request_iterator, context)
        receipt = pb.UploadReply(receipt=pb.Receipt(task=key[0], result_id=key[1]))
        return self.upload_replies.get(result.task, receipt)

    async def Locate(self, request: pb.LocateRequest, context: Any) -> pb.LocateReply:  # noqa: N802 — the generated name
        self.locates.append(request)
        return pb.LocateReply(addresses=[self.address], here=True) if self.located.here else self.located

    async def _take(self, upload: Uploaded, messages: AsyncIterator[pb.UploadMessage], context: _Context) -> None:
        stop, self.cut_upload = self.cut_upload, None
        late: Mapping[str, bytes] = {}
        async for message in messages:
            if message.WhichOneof("kind") == "end":
                late = dict(message.end.sha256)
                break
            upload.data += message.data
            if stop is not None and len(upload.data) >= stop:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "cut by the script")
        try:
            _check(upload, late)
        except AssertionError as error:
            self._arrived.put_nowait(error)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        upload.whole = True
        self._arrived.put_nowait(upload)

    async def _check_ticket(self, context: _Context) -> None:
        if dict(context.invocation_metadata() or ()).get(TICKET) != self.ticket:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, f"metadata {TICKET} is not the ticket of Welcome")


async def _violated(context: _Context, text: str) -> pb.UploadReply:
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
    raise AssertionError  # unreachable: abort raises


def _check(upload: Uploaded, late: Mapping[str, bytes]) -> None:
    announced = sum(blob.size for blob in upload.result.blobs.values())
    assert len(upload.data) == announced, f"{len(upload.data):,} bytes came, {announced:,} were announced"
    for name, blob in upload.result.blobs.items():
        said = blob.sha256 or late.get(name)
        assert said == hashlib.sha256(upload.blob(name)).digest(), f"blob {name} has another hash than announced"


async def _soon(queue: "asyncio.Queue[T]", what: str) -> T:
    try:
        async with asyncio.timeout(PATIENCE):  # a test that waits for ever tells nothing
            return await queue.get()
    except TimeoutError as error:
        raise AssertionError(f"no {what} within {PATIENCE:g} s") from error
