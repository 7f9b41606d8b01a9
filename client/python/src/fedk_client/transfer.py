"""Large blobs: downloads by hash, which go on where they broke off, and uploads from the server's offset."""

from collections.abc import AsyncIterator, Collection, Mapping
from hashlib import sha256

import grpc
from google.protobuf.message import DecodeError

from fedk_client.kept import Kept
from fedk_client.memory import PHYSICAL
from fedk_protocol.fields import DOWNLOADED, UPLOADED, data_of, enclosed
from fedk_protocol.metadata import TICKET
from fedk_protocol.rooms import ROOMS
from fedk_protocol.v1 import federation_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["Federation"].full_name
CHUNK = 256 * 1024  # bytes, where Welcome names none
_SMALLEST, _LARGEST = 4 * 1024, 2 * 2**20
"""Chunks that are sent, whatever Welcome names: below and above, a transfer costs more than its bytes."""

ROOM = PHYSICAL // 2
"""Bytes of inputs that may be here."""


class InputLost(Exception):
    """An input of a task cannot be had: the server has it no more, or damaged."""


class Wire:
    """The calls that carry bytes, on one connection."""

    def __init__(self, channel: grpc.aio.Channel, welcome: pb.Welcome) -> None:
        # messages with data are written and read in place: each is as large as a chunk
        self._download: grpc.aio.UnaryStreamMultiCallable[pb.BlobRequest, bytes] = channel.unary_stream(
            f"/{SERVICE}/Download", request_serializer=pb.BlobRequest.SerializeToString
        )
        self._upload: grpc.aio.StreamUnaryMultiCallable[bytes, pb.UploadReply] = channel.stream_unary(
            f"/{SERVICE}/Upload", response_deserializer=pb.UploadReply.FromString
        )
        self._chunk = min(max(welcome.limits.chunk or CHUNK, _SMALLEST), _LARGEST)
        self._metadata = ((TICKET, welcome.ticket),)

    async def download(self, hash_: bytes, offset: int) -> AsyncIterator[bytes | memoryview]:
        """The blob's bytes from `offset` on, in pieces."""
        async for raw in self._download(pb.BlobRequest(sha256=hash_, offset=offset), metadata=self._metadata):
            data = data_of(raw, DOWNLOADED)
            yield data if data is not None else pb.Chunk.FromString(raw).data

    async def upload(self, kept: Kept, offset: int) -> pb.UploadReply:
        """The result from `offset` on; the reply may say where to go on from."""
        return await self._upload(self._messages(kept, offset), metadata=self._metadata)

    async def _messages(self, kept: Kept, offset: int) -> AsyncIterator[bytes]:
        yield pb.UploadMessage(begin=pb.UploadBegin(result=kept.result, offset=offset)).SerializeToString()
        for data in kept.chunks(offset, self._chunk):
            yield b"".join(enclosed(UPLOADED, (data,)))
        yield pb.UploadMessage(end=pb.UploadEnd()).SerializeToString()


class Inputs:
    """Blobs of the tasks at hand: a model is fetched once for all tasks in a row that bring it."""

    def __init__(self) -> None:
        self._arriving: dict[bytes, _Arriving] = {}
        self._idle: set[bytes] = set()  # what no task wanted when `rest` looked

    def inline(self, blobs: Mapping[str, pb.Blob]) -> dict[str, bytes | memoryview] | None:
        """All of a task's inputs, where nothing has to be fetched. Raises InputLost."""
        found: dict[str, bytes | memoryview] = {}
        for name in blobs:
            if not (blob := blobs[name]).HasField("inline"):
                return None
            found[name] = _checked(name, blob)
        return found

    async def fetch(self, wire: Wire, blobs: Mapping[str, pb.Blob]) -> dict[str, bytes | memoryview]:
        """All of a task's inputs. What has come stays here when the connection breaks.

        Raises InputLost, and grpc.RpcError where another try may succeed.
        """
        return {name: await self._one(wire, name, blob) for name, blob in blobs.items()}

    def trim(self, wanted: Collection[bytes]) -> None:
        """Drop all blobs but these."""
        self._arriving = {hash_: blob for hash_, blob in self._arriving.items() if hash_ in wanted}

    def rest(self, wanted: Collection[bytes]) -> bool:
        """Drop blobs that no task has wanted since the last call. Whether there are more that none wants now."""
        idle = self._arriving.keys() - wanted
        old = idle & self._idle
        self.trim(self._arriving.keys() - old)
        self._idle = idle - old
        return bool(self._idle)

    def __len__(self) -> int:
        return len(self._arriving)

    async def _one(self, wire: Wire, name: str, blob: pb.Blob) -> bytes | memoryview:
        if blob.HasField("inline"):
            return _checked(name, blob)
        self._idle.discard(blob.sha256)
        arriving = self._arriving.get(blob.sha256)
        if arriving is None:
            arriving = self._arriving[blob.sha256] = _Arriving(self._room(name, blob))
        for _ in range(2):  # once more from the start, for bytes that were damaged on the way
            if await arriving.complete(wire, blob.sha256):
                return arriving.view
        raise InputLost(f"{name} {blob.sha256.hex()[:8]}… came damaged, twice")

    def _room(self, name: str, blob: pb.Blob) -> memoryview:
        lost = InputLost(f"{name} {blob.sha256.hex()[:8]}… has {blob.size:,} bytes, for which there is no memory")
        if sum(len(one.view) for one in self._arriving.values()) + blob.size > ROOM:
            raise lost
        try:
            return ROOMS.of("inputs", int(blob.size))
        except MemoryError as error:
            raise lost from error


def _checked(name: str, blob: pb.Blob) -> bytes:
    data = blob.inline  # asked for once: each time is a copy
    if len(data) != blob.size or sha256(data).digest() != blob.sha256:
        raise InputLost(f"{name} {blob.sha256.hex()[:8]}… came damaged")
    return data


class _Arriving:
    """A blob as far as it is here."""

    def __init__(self, room: memoryview) -> None:
        self._data = room
        self._got, self._hash = 0, sha256()

    @property
    def view(self) -> memoryview:
        return self._data.toreadonly()

    async def complete(self, wire: Wire, hash_: bytes) -> bool:
        """Whether all of it is here and has its hash; otherwise it is empty again."""
        if self._got < len(self._data):
            await self._receive(wire, hash_)
        if self._got == len(self._data) and self._hash.digest() == hash_:
            return True
        self._got, self._hash = 0, sha256()
        return False

    async def _receive(self, wire: Wire, hash_: bytes) -> None:
        try:
            async for data in wire.download(hash_, self._got):
                if self._got + len(data) > len(self._data):
                    return  # longer than announced: not this blob
                self._data[self._got : self._got + len(data)] = data
                self._hash.update(data)
                self._got += len(data)
        except grpc.aio.AioRpcError as error:
            if error.code() in _FINAL:
                raise InputLost(f"{hash_.hex()[:8]}… is not to be had: {error.details()}") from error
            raise
        except DecodeError as error:
            raise InputLost(f"{hash_.hex()[:8]}… is not to be had: what comes is no Chunk") from error


_FINAL = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.DATA_LOSS, grpc.StatusCode.OUT_OF_RANGE}
