"""Downloads: a blob's bytes by hash, from an offset, read where they are and never held whole."""

import asyncio
import logging
from collections import OrderedDict

import grpc

from fedk.api.errors import BlobError, NotFound
from fedk.blobs.reader import Reader
from fedk.network.calls import Context, Ended
from fedk.network.doors import AnyDoor
from fedk.network.messages import chunk
from fedk.network.threads import Threads
from fedk.network.traffic import Traffic
from fedk_protocol.v1 import federation_pb2 as pb

log = logging.getLogger("fedk.network")


READ_AHEAD = 16
"""Chunks that are kept, of all downloads: clients of a round download one model at about the same time."""


class Chunks:
    """Messages, each read and put together once for all who download it now."""

    def __init__(self, threads: Threads, size: int) -> None:
        self._threads, self._size = threads, size
        self._kept: OrderedDict[tuple[object, ...], asyncio.Future[bytes]] = OrderedDict()

    async def get(self, reader: Reader, at: int) -> bytes:
        """The chunk at this position. BlobError where it cannot be read."""
        key = reader.span.path, reader.version, reader.span.offset + at  # a blob that is healed is another file
        if (found := self._kept.get(key)) is not None:
            try:
                return await asyncio.shield(found)
            except (BlobError, ValueError):  # ValueError: whose reader it was, has closed it
                self._kept.pop(key, None)
        found = self._kept[key] = asyncio.ensure_future(self._threads.run(self._read, reader, at))
        if len(self._kept) > READ_AHEAD:
            self._kept.popitem(last=False)
        return await asyncio.shield(found)

    def clear(self) -> None:
        """Nobody downloads now."""
        self._kept.clear()

    def _read(self, reader: Reader, at: int) -> bytes:
        return chunk(reader.read(at, min(self._size, reader.size - at)))


class Downloads:
    """For clients, and combiners (None), whose tickets have been read."""

    def __init__(self, *, door: AnyDoor, traffic: Traffic, threads: Threads, chunk_size: int) -> None:
        self._door, self._traffic, self._threads, self._chunk_size = door, traffic, threads, chunk_size
        self._chunks, self._sending = Chunks(threads, chunk_size), 0

    async def send(self, client: str | None, request: pb.BlobRequest, context: Context, *, session: str) -> None:
        """Write the blob into the call; its bytes count for `session`."""
        try:
            span = await self._door.readable(client, request.sha256)
            if request.offset > span.size:
                text = f"offset {request.offset:,} is beyond the blob's {span.size:,} bytes"
                raise Ended(grpc.StatusCode.OUT_OF_RANGE, text)
            reader = await self._threads.run(Reader, span)
            self._sending += 1
            try:
                await self._copy(reader, request.offset, context, session)
            finally:
                reader.close()  # here: a call that is cancelled twice would not wait for a thread
                self._sending -= 1
                if not self._sending and reader.size > READ_AHEAD * self._chunk_size:
                    self._chunks.clear()  # a smaller one is kept whole, for who comes later
        except NotFound as error:
            raise Ended(grpc.StatusCode.NOT_FOUND, str(error)) from error
        except BlobError as error:
            log.exception("a download fails")
            text = f"blob {request.sha256.hex()[:8]}… cannot be read here; the server's log says why"
            raise Ended(grpc.StatusCode.DATA_LOSS, text) from error

    async def _copy(self, reader: Reader, start: int, context: Context, session: str) -> None:
        for at in range(start, reader.size, self._chunk_size):
            message = await self._chunks.get(reader, at)
            await context.write(message)
            self._traffic.sent(session, len(message))
