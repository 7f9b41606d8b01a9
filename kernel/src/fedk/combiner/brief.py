"""A brief: what the tasks of one round and kind have in common, with its blobs at hand."""

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
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
    """`needs` are its model and its blobs, there until `close`."""

    work: Work
    accepting: int
    expected: Expected | None
    needs: ExitStack
    codec: BlockCodec | None  # that an answer's model may be in
    deadline: Deadline
    begun: bool = False  # one of its tasks is on its client's stream

    @classmethod
    async def of(cls, common: tier.Common, inputs: Inputs, parent: Parent, codecs: Codecs) -> "Brief":
        """Fetches what is not here. As `Inputs.use`."""
        task, wanted, model = common.task, common.expectation, None
        with ExitStack() as needs:
            for blob in task.inputs.values():
                inline = blob.inline if blob.HasField("inline") else None
                await inputs.use(blob.sha256, parent, inline)
                needs.callback(inputs.release, blob.sha256)
            if wanted.blobs and "model" in task.inputs:
                span = inputs.span(task.inputs["model"].sha256)
                model = needs.enter_context(await asyncio.to_thread(Model.open, span))
            expected = words.expected(wanted, model, tuple(task.sets)) if wanted.blobs else None
            codec = codecs(task.codec, task.codec_settings) if task.codec and model is not None else None
            deadline = Deadline()
            work = words.work(common, codec, deadline.left)
            return cls(work, common.accepting, expected, needs.pop_all(), codec, deadline)

    def close(self) -> None:
        self.needs.close()
