"""Sends kept results on one connection: inside a message, or by upload."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from fedk_client.backoff import draw, pause
from fedk_client.desk import Desk
from fedk_client.jobs import Jobs
from fedk_client.kept import Kept
from fedk_client.stream import Stream
from fedk_client.transfer import Wire
from fedk_protocol.v1 import federation_pb2 as pb


class Delivery:
    """`hear` takes what an Upload's reply says, like a message of the stream."""

    def __init__(
        self, desk: Desk, stream: Stream, wire: Wire, jobs: Jobs, hear: Callable[[str, Any], Awaitable[None]]
    ) -> None:
        self._desk, self._stream, self._wire, self._jobs, self._hear = desk, stream, wire, jobs, hear
        # many small sets may make a large message together: half of the limit leaves room for all else
        self._most = desk.message_max // 2
        self._inline_max = desk.inline_max

    def send(self, kept: Kept) -> None:
        """All of it; an upload that is under way goes on as it is."""
        if kept.task not in self._jobs:
            self.send_from(kept, 0)

    def send_from(self, kept: Kept, offset: int) -> None:
        """What the server has not; an upload that is under way ends."""
        if self._fits(kept):
            self._stream.send(kept.message())
        else:
            self._jobs.start(kept.task, self._upload(kept, offset))

    def send_later(self, kept: Kept) -> None:
        """After the back-off: the server has no room now."""
        self._jobs.start(kept.task, self._again(kept))

    def _fits(self, kept: Kept) -> bool:
        if kept.size > self._most:
            return False
        return kept.size <= self._inline_max or kept.largest <= self._inline_max

    async def _again(self, kept: Kept) -> None:
        await pause(draw(self._desk.delays))
        self.send_from(kept, 0)

    async def _upload(self, kept: Kept, offset: int) -> None:
        while (reply := await self._try(kept, offset)) is None or reply.WhichOneof("kind") == "send_from":
            told = int(reply.send_from.offset) if reply else 0
            if reply is None or told == offset:
                await pause(draw(self._desk.delays))
            offset = told
        if kind := reply.WhichOneof("kind"):
            await self._hear(kind, getattr(reply, kind))

    async def _try(self, kept: Kept, offset: int) -> pb.UploadReply | None:
        try:
            return await self._wire.upload(kept, offset)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise  # another try would be the same
            return None  # the stream's end tells whether the server is lost; if it is not, this call was
