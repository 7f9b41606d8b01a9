"""A result that waits for its verdict."""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from google.protobuf.message import DecodeError

from fedk_protocol.v1 import federation_pb2 as pb


class Body(Protocol):
    """The result's blobs, one after the other in the order of their sorted names."""

    def read(self, offset: int, size: int) -> bytes | memoryview:
        """`size` bytes, fewer at the end only."""


@dataclass(frozen=True, slots=True)
class Kept:
    """`result` has its blobs' sizes and hashes, not their bytes; `sha256` and `size` are of the whole body."""

    result: pb.Result
    session: str
    round: int
    sha256: bytes
    size: int
    body: Body
    number: int = 0  # larger than that of each that was kept before and still is

    @property
    def task(self) -> str:
        return self.result.task

    @property
    def result_id(self) -> str:
        return self.result.result_id

    @property
    def largest(self) -> int:
        """Size of the largest blob."""
        return max((blob.size for blob in self.result.blobs.values()), default=0)

    def listed(self) -> pb.Kept:
        """For Hello.outbox."""
        return pb.Kept(task=self.task, result_id=self.result_id, sha256=self.sha256, size=self.size)

    def message(self) -> pb.ClientMessage:
        """The result with its blobs' bytes inside."""
        message, offset = pb.ClientMessage(result=self.result), 0
        blobs = message.result.blobs
        for name in sorted(blobs):
            blob = blobs[name]
            blob.inline = bytes(self.body.read(offset, blob.size))
            offset += blob.size
        return message

    def chunks(self, offset: int, size: int) -> Iterator[bytes | memoryview]:
        """The body from `offset` on, in pieces of `size` bytes."""
        return (self.body.read(at, size) for at in range(offset, self.size, size))

    def to_json(self) -> str:
        """Everything but the body."""
        return json.dumps(
            {
                "result": b64encode(self.result.SerializeToString()).decode(),
                "session": self.session,
                "round": self.round,
                "sha256": self.sha256.hex(),
                "size": self.size,
                "number": self.number,
            }
        )

    @classmethod
    def from_json(cls, text: str, body: Body) -> "Kept":
        """Raises ValueError for anything that `to_json` did not write."""
        try:
            values = json.loads(text)
            return cls(
                result=pb.Result.FromString(b64decode(values["result"])),
                session=values["session"],
                round=values["round"],
                sha256=bytes.fromhex(values["sha256"]),
                size=values["size"],
                body=body,
                number=values.get("number", 0),
            )
        except (KeyError, TypeError, DecodeError) as error:
            raise ValueError(f"not what was written: {type(error).__name__} {error}") from error
