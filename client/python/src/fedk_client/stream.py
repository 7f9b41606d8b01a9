"""The two directions of one Connect call: sending never waits, receiving is iterated."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

import grpc

from fedk_protocol.v1 import federation_pb2 as pb

if TYPE_CHECKING:
    from fedk_protocol.v1.federation_pb2_grpc import FederationAsyncStub  # a type of the stubs alone

_CROWDED = 256  # messages in the queue: live curves and log lines may be dropped then, results never


class Stream:
    """Begins with the call; `close` ends it whatever its state."""

    def __init__(self, stub: "FederationAsyncStub", metadata: Sequence[tuple[str, str]] = ()) -> None:
        self._call = stub.Connect(metadata=tuple(metadata))
        self._queue: asyncio.Queue[pb.ClientMessage | None] = asyncio.Queue()
        self._writer = asyncio.create_task(self._write())

    def send(self, **message: Any) -> None:
        """Queue one message: `send(result=…)`. After the stream's end it goes nowhere."""
        self._queue.put_nowait(pb.ClientMessage(**message))

    def mention(self, message: pb.ClientMessage) -> None:
        """Queue one message that may be dropped."""
        if self._queue.qsize() < _CROWDED:
            self._queue.put_nowait(message)

    def finish(self) -> None:
        """Nothing more will be sent; what is queued still is."""
        self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[pb.ServerMessage]:
        async for message in self._call:
            yield message
            for word in message.also:
                yield word

    def cancel(self) -> None:
        """Break off: who iterates gets asyncio.CancelledError."""
        self._call.cancel()

    async def close(self) -> None:
        self._writer.cancel()
        self.cancel()
        await asyncio.wait({self._writer})

    async def _write(self) -> None:
        try:
            while (message := await self._queue.get()) is not None:
                await self._call.write(message)
            await self._call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            return  # the call is over: who reads it learns why
