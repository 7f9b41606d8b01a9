"""A brief: what the tasks of one round and kind have in common, with its blobs at hand."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from fedk.aggregation.expected import Expected
from fedk.aggregation.model import Model
from fedk.api.codec import BlockCodec
from fedk.combiner import words
from fedk.combiner.inputs import Inputs
from fedk.combiner.parent import Parent
from fedk.rounds.clients import Work
from fedk_protocol.v1 import tier_pb2 as tier

Codecs = Callable[[str, str], BlockCodec | None]
"""By name and settings; None for one that is not installed."""


@dataclass(slots=True)
class Deadline:
    """Of a round's tasks, in monotonic seconds, as the parent has said last."""

    at: float = 0.0

    def left(self) -> float:
        return max(0.0, self.at - time.monotonic())


@dataclass(slots=True)
class Brief:
    """`blobs` are those of `inputs` that it uses until `close`."""

    work: Work
    accepting: int
    expected: Expected | None
    blobs: tuple[bytes, ...]
    model: Model | None
    codec: BlockCodec | None  # that an answer's model may be in
    deadline: Deadline
    begun: bool = False  # one of its tasks is on its client's stream

    @classmethod
    async def of(cls, common: tier.Common, inputs: Inputs, parent: Parent, codecs: Codecs) -> "Brief":
        """Fetches what is not here. As `Inputs.use`."""
        task, wanted = common.task, common.expectation
        used, model = list[bytes](), None
        try:
            for blob in task.inputs.values():
                inline = blob.inline if blob.HasField("inline") else None
                await inputs.use(blob.sha256, parent, inline)
                used.append(blob.sha256)
            if wanted.blobs and "model" in task.inputs:
                model = await asyncio.to_thread(Model.open, inputs.span(task.inputs["model"].sha256))
        except BaseException:
            for sha256 in used:
                inputs.release(sha256)
            raise
        expected = words.expected(wanted, model, tuple(task.sets)) if wanted.blobs else None
        codec = codecs(task.codec, task.codec_settings) if task.codec and model is not None else None
        deadline = Deadline()
        work = words.work(common, codec, deadline.left)
        return cls(work, common.accepting, expected, tuple(used), model, codec, deadline)

    def close(self, inputs: Inputs) -> None:
        if self.model is not None:
            self.model.close()
        for sha256 in self.blobs:
            inputs.release(sha256)
