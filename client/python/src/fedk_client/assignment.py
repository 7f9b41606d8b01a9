"""What the server asks, with its inputs here; and what user code answered."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from fedk_client.task import Validation
from fedk_protocol.codec import Arrays
from fedk_protocol.v1 import federation_pb2 as pb

MODEL = "model"
"""The blob that every train and validate task brings, and every update."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One task. `inputs` are blobs as they came; `deadline` is on this machine's monotonic clock."""

    id: str = ""
    session: str = ""
    kind: str = "train"
    before: tuple[str, ...] = ()
    round: int = 1
    seed: int = 0
    settings: str = ""
    wants: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    deadline: float = math.inf
    inputs: Mapping[str, bytes | memoryview] = field(default_factory=dict, repr=False)
    base: bytes = b""  # hash of the model among them
    codec: str = ""  # that the answer's model may be in
    codec_settings: str = ""

    @classmethod
    def of(cls, task: pb.Task, inputs: Mapping[str, bytes | memoryview], deadline: float) -> "Assignment":
        """A task of the wire, whose inputs have been fetched."""
        return cls(
            id=task.id,
            session=task.session,
            kind=task.kind,
            before=tuple(task.before),
            round=task.round,
            seed=task.seed,
            settings=task.settings,
            wants=tuple(task.wants),
            sets=tuple(task.sets),
            deadline=deadline,
            inputs=inputs,
            base=task.inputs[MODEL].sha256 if MODEL in task.inputs else b"",
            codec=task.codec,
            codec_settings=task.codec_settings,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`blobs` may be views of the user's model: encode them before user code runs again."""

    blobs: Mapping[str, Arrays] = field(default_factory=dict)
    num_examples: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    before: Mapping[str, Validation] = field(default_factory=dict)
    settings_read: tuple[str, ...] = ()
    state: Arrays = field(default_factory=dict)

    def summary(self, kind: str, seconds: float) -> str:
        """For a person: "train, 360 examples, loss 0.254, 0.05 s"."""
        examples = [f"{self.num_examples:,} examples"] if self.num_examples else []
        metrics = [f"{name} {value:.3f}" for name, value in self.metrics.items()]
        return ", ".join([kind, *examples, *metrics, f"{seconds:.2f} s"])


def deadline_of(task: pb.Task) -> float:
    """When the round ends on this machine's clock, for a task that has just arrived."""
    return time.monotonic() + task.remaining if task.remaining > 0 else math.inf  # NaN is not
