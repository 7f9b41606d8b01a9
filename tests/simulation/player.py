"""A client as the specification wants it: keeps what it has made until the verdict, and comes back."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from tests.simulation.clock import World
from tests.simulation.server import Server
from tests.simulation.wire import Wire

from fedk_protocol.codec import Safetensors
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.version import VERSION

CHUNK = 64
CODEC = Safetensors()


@dataclass(frozen=True, slots=True)
class Manners:
    """How often out of 1 a client does worse than it should, and whether its disk outlives it."""

    fails: float = 0.0
    spoils: float = 0.0
    sulks: float = 0.0  # says nothing for long
    stutters: float = 0.0  # sends a result twice
    keeps: bool = True
    uploads: bool = False
    trains: bool = True  # else it only validates


@dataclass(slots=True)
class Made:
    """A result without a verdict."""

    result: pb.Result
    body: bytes
    receipt: bool = False


class Archive:
    """What all clients have made and heard, for the oracles."""

    def __init__(self) -> None:
        self.updates: dict[bytes, np.ndarray] = {}  # by hash
        self.receipts: set[tuple[str, str]] = set()  # (task, result id)
        self.verdicts: dict[str, tuple[int, str]] = {}  # by task
        self.trained: dict[str, int] = {}  # how often, by task

    def verdict(self, verdict: pb.Verdict) -> None:
        said = (verdict.outcome, verdict.model)
        assert self.verdicts.setdefault(verdict.task, said) == said, f"two verdicts on {verdict.task}: {said}"


class Player:
    """One name; a new instance after each crash."""

    def __init__(
        self, world: World, name: str, manners: Manners, archive: Archive, find: Callable[[], Server | None]
    ) -> None:
        self.world, self.name, self.manners, self.archive, self._find = world, name, manners, archive, find
        self.outbox: dict[str, Made] = {}
        self.working: dict[str, pb.Task] = {}
        self.wire: Wire | None = None
        self.up, self._life, self._count = False, 0, 0
        self._ticket, self._listed = "", frozenset[str]()
        self._failures: dict[str, pb.Failure] = {}

    # ---- life ----

    def begin(self) -> None:
        self.up, self._life = True, self._life + 1
        self._connect()

    def crash(self) -> None:
        """Everything in memory is gone; the disk is not, where it has one."""
        if self.up:
            self.up, self._life = False, self._life + 1
            self.working.clear()
            self._failures.clear()
            if not self.manners.keeps:
                self.outbox.clear()
            if self.wire is not None:
                self.wire.cut()
                self.wire = None

    def _soon(self, seconds: float, then: Callable[[], None]) -> None:
        """Unless it has crashed by then."""
        life = self._life
        self.world.later(seconds, lambda: then() if life == self._life else None)

    def _connect(self) -> None:
        server = self._find()
        if server is None or not server.listening:
            self._soon(self.world.luck.uniform(0.2, 2.0), self._connect)
            return
        wire = Wire(self.world, server, lambda data: self._hear(wire, data), lambda: self._lost(wire))
        self.wire = wire
        self._ticket, self._listed = "", frozenset(self.outbox)
        server.serve(wire)
        wire.send(pb.ClientMessage(hello=self._hello()).SerializeToString())

    def _hello(self) -> pb.Hello:
        kept = [
            pb.Kept(task=t, result_id=m.result.result_id, sha256=sha256(m.body).digest(), size=len(m.body))
            for t, m in self.outbox.items()
        ]
        return pb.Hello(
            version=pb.Version(major=VERSION[0], minor=VERSION[1]), project="default", name=self.name,
            instance=f"{self.name}-{self._life}", capabilities=["init", "train", "validate"] if self.manners.trains else ["validate"], outbox=kept,
            software="simulated", working=list(self.working),
        )  # fmt: skip

    def _lost(self, wire: Wire) -> None:
        if wire is self.wire:
            self.wire = None
            self._soon(self.world.luck.uniform(0.2, 2.0), self._connect)

    # ---- words ----

    def _say(self, **message: object) -> None:
        if self.wire is not None and self._ticket:
            self.wire.send(pb.ClientMessage(**message).SerializeToString())  # type: ignore[arg-type]  # one of its fields

    def _hear(self, wire: Wire, data: bytes) -> None:
        if wire is self.wire:
            message = pb.ServerMessage.FromString(data)
            kind = message.WhichOneof("kind") or ""
            getattr(self, f"_on_{kind}", lambda _: None)(getattr(message, kind))

    def _on_welcome(self, welcome: pb.Welcome) -> None:
        self._ticket = welcome.ticket
        for failure in list(self._failures.values()):
            self._say(failure=failure)
        self._failures.clear()
        for made in [made for task, made in self.outbox.items() if task not in self._listed]:  # made since the Hello
            self._deliver(made, 0)

    def _on_task(self, task: pb.Task) -> None:
        if task.id in self.outbox:
            self._deliver(self.outbox[task.id], 0)
        elif task.id not in self.working:
            self.working[task.id] = task
            luck, slow = self.world.luck, self.world.chance(self.manners.sulks)
            self._soon(luck.uniform(20, 200) if slow else luck.uniform(0.01, 3.0), lambda: self._done(task.id))

    def _on_cancel(self, cancel: pb.Cancel) -> None:
        if self.working.pop(cancel.task, None) is not None:
            self._fail(cancel.task, "cancelled")

    def _on_send_from(self, told: pb.SendFrom) -> None:
        made = self.outbox.get(told.task)
        if made is not None and made.result.result_id == told.result_id:
            self._deliver(made, int(told.offset))

    def _on_receipt(self, receipt: pb.Receipt) -> None:
        made = self.outbox.get(receipt.task)
        self.archive.receipts.add((receipt.task, receipt.result_id))
        if made is not None:
            made.receipt = True

    def _on_verdict(self, verdict: pb.Verdict) -> None:
        self.archive.verdict(verdict)
        self.outbox.pop(verdict.task, None)

    def _on_refusal(self, refusal: pb.Refusal) -> None:
        made = self.outbox.get(refusal.task)
        if refusal.retry and made is not None:
            self._soon(self.world.luck.uniform(0.2, 2.0), lambda: self._again(refusal.task))
        elif refusal.task:
            self.outbox.pop(refusal.task, None)

    def _again(self, task: str) -> None:
        if task in self.outbox:
            self._deliver(self.outbox[task], 0)

    # ---- work ----

    def _done(self, task_id: str) -> None:
        task = self.working.pop(task_id, None)
        if task is None:
            return
        if self.world.chance(self.manners.fails):
            self._fail(task_id, "raised")
            return
        made = self._make(task)
        self.outbox[task_id] = made
        self.archive.trained[task_id] = self.archive.trained.get(task_id, 0) + 1
        self._deliver(made, 0)
        if self.world.chance(self.manners.stutters):
            self._soon(self.world.luck.uniform(0.0, 1.0), lambda: self._again(task_id))

    def _fail(self, task: str, reason: str) -> None:
        failure = pb.Failure(task=task, reason=reason)
        if self.wire is not None and self._ticket:
            self._say(failure=failure)
        else:
            self._failures[task] = failure

    def _make(self, task: pb.Task) -> Made:
        self._count += 1
        result = pb.Result(task=task.id, result_id=f"{self.name}-{self._life}-{self._count}", num_examples=10)
        result.num_examples += task.seed % 7
        result.metrics["accuracy" if task.kind == "validate" else "loss"] = (task.seed % 100) / 100
        for kind in task.before:
            result.before[kind].num_examples = 5
            result.before[kind].metrics["accuracy"] = 0.5
        if task.kind == "validate":
            return Made(result, b"")
        body = self._trained(task)
        result.blobs["model"].size = len(body)
        result.blobs["model"].sha256 = sha256(body).digest()
        return Made(result, body)

    def _trained(self, task: pb.Task) -> bytes:
        if task.kind == "init":
            result = np.zeros(4, np.float32)
        else:
            result = _moved(CODEC.decode(task.inputs["model"].inline)["w"], task.seed)
        if self.world.chance(self.manners.spoils):
            result = result * np.nan
        body = CODEC.dumps({"w": result})
        self.archive.updates[sha256(body).digest()] = result
        return body

    def _deliver(self, made: Made, offset: int) -> None:
        if self.wire is None or not self._ticket:
            return
        if made.body and self.manners.uploads:
            self._upload(made, offset)
            return
        whole = pb.Result()
        whole.CopyFrom(made.result)
        if made.body:
            whole.blobs["model"].inline = made.body
        self._say(result=whole)

    def _upload(self, made: Made, offset: int) -> None:
        server, stream = self._find(), self.wire
        if server is None or not server.listening or stream is None:
            return
        answered = False

        def hear(data: bytes) -> None:
            nonlocal answered
            answered = True
            reply = pb.UploadReply.FromString(data)
            kind = reply.WhichOneof("kind") or ""
            getattr(self, f"_on_{kind}")(getattr(reply, kind))

        def ended() -> None:
            if not answered:  # the stream may live: it is sent again after a while
                self._soon(self.world.luck.uniform(0.2, 2.0), lambda: self._again(made.result.task))

        wire = Wire(self.world, server, hear, ended, self._ticket)
        server.take_upload(wire)
        wire.send(pb.UploadMessage(begin=pb.UploadBegin(result=made.result, offset=offset)).SerializeToString())
        for at in range(offset, len(made.body), CHUNK):
            wire.send(pb.UploadMessage(data=made.body[at : at + CHUNK]).SerializeToString())
        wire.send(pb.UploadMessage(end=pb.UploadEnd()).SerializeToString())
        if self.world.chance(0.1):
            wire.cut()


def _moved(model: np.ndarray, seed: int) -> np.ndarray:
    if model.dtype == np.float32:  # sums of it in float64 are exact, so that the order of adding is not seen
        return model + np.float32((seed % 1000) / 1000 - 0.5)
    draw = np.random.default_rng(seed)
    return model + draw.standard_normal(model.size) * 10.0 ** draw.integers(-12, 5, model.size)
