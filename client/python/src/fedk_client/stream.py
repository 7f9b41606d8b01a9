"""The two directions of one Connect call: sending never waits, receiving does."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc

from fedk_client.eager import Eager
from fedk_protocol.v1 import federation_pb2 as pb

if TYPE_CHECKING:
    from fedk_protocol.v1.federation_pb2_grpc import FederationAsyncStub  # a type of the stubs alone

_CROWDED = 256  # messages in the queue: live curves and log lines may be dropped then, results never
_AHEAD = 16  # others in the queue: no further word is heard then, as each may ask for a whole result


class Stream:
    """Begins with the call; `close` ends it whatever its state."""

    def __init__(self, stub: "FederationAsyncStub", metadata: Sequence[tuple[str, str]] = ()) -> None:
        self._call = stub.Connect(metadata=tuple(metadata))
        self._queue: deque[tuple[pb.ClientMessage | None, bool]] = deque()  # and whether it is owed
        self._writer: Eager | None = None
        self._writing = False
        self._owed, self._room = 0, asyncio.Event()
        self._room.set()

    def send(self, message: pb.ClientMessage) -> None:
        """Write it: in this turn of the loop where nothing is queued. After the stream's end it goes nowhere."""
        self._put(message, owed=True)

    def mention(self, message: pb.ClientMessage) -> None:
        """Write a message that may be dropped."""
        if len(self._queue) < _CROWDED:
            self._put(message, owed=False)

    def finish(self) -> None:
        """Nothing more will be sent; what is queued still is."""
        self._put(None, owed=False)

    async def read(self) -> Sequence[pb.ServerMessage]:
        """The words that have come together; none at the stream's end."""
        message = await self._call.read()
        return (message, *message.also) if isinstance(message, pb.ServerMessage) else ()

    async def room(self) -> None:
        """Wait while a server does not read what it has asked for."""
        await self._room.wait()

    def cancel(self) -> None:
        """Break off: who reads gets asyncio.CancelledError."""
        self._call.cancel()

    def close(self) -> None:
        if self._writer:
            self._writer.cancel()
        self.cancel()

    def _put(self, message: pb.ClientMessage | None, *, owed: bool) -> None:
        self._queue.append((message, owed))
        self._owed += owed
        if self._owed >= _AHEAD:
            self._room.clear()
        if not self._writing:
            self._writer = Eager(self._write())

    async def _write(self) -> None:
        self._writing = True
        try:
            while self._queue:
                message, owed = self._queue.popleft()
                self._owed -= owed
                if self._owed < _AHEAD:
                    self._room.set()
                if message is not None:
                    await self._call.write(message)
                else:
                    await self._call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            self._queue.clear()  # the call is over: who reads it learns why
            self._owed = 0
        finally:
            self._writing = False
            self._room.set()
