"""Downloads: a blob's bytes by hash, from an offset, read where they are and never held whole."""

import logging

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


class Downloads:
    """For clients, and combiners (None), whose tickets have been read."""

    def __init__(self, *, door: AnyDoor, traffic: Traffic, threads: Threads, chunk_size: int) -> None:
        self._door, self._traffic, self._threads, self._chunk_size = door, traffic, threads, chunk_size

    async def send(self, client: str | None, request: pb.BlobRequest, context: Context, *, session: str) -> None:
        """Write the blob into the call; its bytes count for `session`."""
        try:
            span = await self._door.readable(client, request.sha256)
            if request.offset > span.size:
                text = f"offset {request.offset:,} is beyond the blob's {span.size:,} bytes"
                raise Ended(grpc.StatusCode.OUT_OF_RANGE, text)
            reader = await self._threads.run(Reader, span)
            try:
                await self._copy(reader, request.offset, context, session)
            finally:
                reader.close()  # here: a call that is cancelled twice would not wait for a thread
        except NotFound as error:
            raise Ended(grpc.StatusCode.NOT_FOUND, str(error)) from error
        except BlobError as error:
            log.exception("a download fails")
            text = f"blob {request.sha256.hex()[:8]}… cannot be read here; the server's log says why"
            raise Ended(grpc.StatusCode.DATA_LOSS, text) from error

    async def _copy(self, reader: Reader, start: int, context: Context, session: str) -> None:
        for at in range(start, reader.size, self._chunk_size):
            message = await self._threads.run(self._read, reader, at)
            await context.write(message)
            self._traffic.sent(session, len(message))

    def _read(self, reader: Reader, at: int) -> bytes:
        return chunk(reader.read(at, min(self._chunk_size, reader.size - at)))
