"""A client in as few lines as the specification allows; it answers `train` with the model that the task brings.

python reference_client.py ADDRESS NAME
"""

import hashlib
import queue
import random
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import grpc

from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1.federation_pb2_grpc import FederationStub

FINAL = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.DATA_LOSS}
PATIENT = [(f"grpc.{what}_reconnect_backoff_ms", 50) for what in ("initial", "min", "max")]


@dataclass
class Kept:
    """A result without a verdict: its blobs have no bytes, `data` has them all in the order of the sorted names."""

    result: pb.Result
    data: bytes

    def listed(self) -> pb.Kept:
        sha256 = hashlib.sha256(self.data).digest()
        return pb.Kept(task=self.result.task, result_id=self.result.result_id, sha256=sha256, size=len(self.data))

    def inline(self) -> pb.Result:
        whole, at = pb.Result.FromString(self.result.SerializeToString()), 0
        for name in sorted(whole.blobs):
            blob = whole.blobs[name]
            blob.inline = self.data[at : at + blob.size]
            at += blob.size
        return whole


class Client:
    def __init__(self, address: str, name: str) -> None:
        self.home = self.address = address
        self.name, self.instance = name, uuid.uuid4().hex
        self.ticket = ""  # of a redirect
        self.outbox: dict[str, Kept] = {}
        self.welcome = pb.Welcome()
        self.stopping = threading.Event()
        self.outgoing: queue.SimpleQueue[pb.ClientMessage | None] = queue.SimpleQueue()

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                with grpc.insecure_channel(self.address, options=PATIENT) as channel:
                    self.stream(FederationStub(channel))
            except grpc.RpcError as error:
                self.lost(error)
            self.stopping.wait(self.delay())  # the back-off of the specification

    def lost(self, error: grpc.RpcError) -> None:
        """Another try after the delay, at the address that was given."""
        missed = [self.address] if self.address != self.home and "failed to connect" in str(error.details()) else []
        self.address, self.ticket = self.home, ""
        if missed:
            with grpc.insecure_channel(self.home, options=PATIENT) as channel, suppress(grpc.RpcError):
                reply = FederationStub(channel).Locate(pb.LocateRequest(name=self.name, unreachable=missed))
                if reply.addresses and not reply.here:
                    self.address, self.ticket = reply.addresses[0], reply.ticket

    def delay(self) -> float:
        return random.uniform(self.welcome.reconnect_base or 0.2, self.welcome.reconnect_cap or 2)

    def stop(self, *_: object) -> None:
        self.stopping.set()
        self.outgoing.put(pb.ClientMessage(goodbye=pb.Goodbye(reason="stopped")))
        self.outgoing.put(None)

    def stream(self, stub: FederationStub) -> None:
        self.outgoing = queue.SimpleQueue()
        hello = pb.Hello(
            version=pb.Version(major=1),
            project="default",
            name=self.name,
            instance=self.instance,
            capabilities=["train"],
            outbox=[kept.listed() for kept in self.outbox.values()],
        )
        self.outgoing.put(pb.ClientMessage(hello=hello))
        for message in stub.Connect(iter(self.outgoing.get, None), metadata=ticket(self.ticket)):
            self.hear(message, stub)
        self.outgoing.put(None)

    def hear(self, message: pb.ServerMessage, stub: FederationStub) -> None:
        kind = message.WhichOneof("kind")
        if kind == "welcome":
            self.welcome = message.welcome
        elif kind == "task":
            self.work(message.task, stub)
        elif kind == "send_from" and message.send_from.task in self.outbox:
            self.send(self.outbox[message.send_from.task], stub, message.send_from.offset)
        elif kind == "verdict":
            self.outbox.pop(message.verdict.task, None)
        elif kind == "refusal":
            self.refused(message.refusal, stub)
        elif kind == "redirect":
            self.address, self.ticket = message.redirect.addresses[0], message.redirect.ticket
            self.outgoing.put(None)
        elif kind == "superseded":
            self.stopping.set()
            self.outgoing.put(None)

    def refused(self, refusal: pb.Refusal, stub: FederationStub) -> None:
        kept = self.outbox.get(refusal.task)
        if not refusal.retry:
            self.outbox.pop(refusal.task, None)
            if not refusal.task:
                self.stopping.set()
        elif kept:
            time.sleep(self.delay())  # the back-off of the specification
            self.send(kept, stub)

    def work(self, task: pb.Task, stub: FederationStub) -> None:
        if task.kind != "train":
            self.fail(task, "not-supported")
            return
        if task.id not in self.outbox:
            try:
                inputs = {name: self.download(blob, stub) for name, blob in task.inputs.items()}
            except LookupError:
                self.fail(task, "bad-hash")
                return
            self.outbox[task.id] = answer(task, inputs)
        self.send(self.outbox[task.id], stub)

    def fail(self, task: pb.Task, reason: str) -> None:
        self.outgoing.put(pb.ClientMessage(failure=pb.Failure(task=task.id, reason=reason)))

    def download(self, blob: pb.Blob, stub: FederationStub) -> bytes:
        data = bytearray(blob.inline)
        while len(data) < blob.size:
            try:
                request = pb.BlobRequest(sha256=blob.sha256, offset=len(data))
                for chunk in stub.Download(request, metadata=ticket(self.welcome.ticket)):
                    data += chunk.data
            except grpc.RpcError as error:
                if error.code() in FINAL:
                    raise LookupError from error
        if hashlib.sha256(data).digest() != blob.sha256:
            raise LookupError
        return bytes(data)

    def send(self, kept: Kept, stub: FederationStub, offset: int = 0) -> None:
        if all(blob.size <= self.welcome.limits.inline_max for blob in kept.result.blobs.values()):
            self.outgoing.put(pb.ClientMessage(result=kept.inline()))
            return
        try:
            reply = stub.Upload(self.pieces(kept, offset), metadata=ticket(self.welcome.ticket))
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                self.stop()
                return
            time.sleep(self.delay())  # the back-off of the specification
            self.send(kept, stub)
            return
        # the four fields of a reply, each under the name that it has on the stream
        self.hear(pb.ServerMessage(**{field.name: value for field, value in reply.ListFields()}), stub)

    def pieces(self, kept: Kept, offset: int) -> Iterator[pb.UploadMessage]:
        yield pb.UploadMessage(begin=pb.UploadBegin(result=kept.result, offset=offset))
        chunk = self.welcome.limits.chunk or 262_144
        for at in range(offset, len(kept.data), chunk):
            yield pb.UploadMessage(data=kept.data[at : at + chunk])
        yield pb.UploadMessage(end=pb.UploadEnd())


def ticket(text: str) -> tuple[tuple[str, str], ...]:
    return (("fedk-ticket", text),) if text else ()


def answer(task: pb.Task, inputs: dict[str, bytes]) -> Kept:
    result = pb.Result(task=task.id, result_id=uuid.uuid4().hex, num_examples=1, metrics=dict.fromkeys(task.wants, 1.0))
    names = sorted(["model", *task.sets])
    for name in names:
        blob = pb.Blob(sha256=hashlib.sha256(inputs[name]).digest(), size=len(inputs[name]))
        blob.codec, blob.representation = "safetensors", pb.REPRESENTATION_FULL
        result.blobs[name].CopyFrom(blob)
    return Kept(result, b"".join(inputs[name] for name in names))


if __name__ == "__main__":
    client = Client(*sys.argv[1:])
    signal.signal(signal.SIGTERM, client.stop)
    client.run()
