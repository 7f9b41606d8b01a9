"""One round of one client without a server: what `fedk-client check` shows."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from fedk_client.app import ClientApp
from fedk_client.assignment import MODEL, Answer, Assignment
from fedk_client.initial import initial
from fedk_client.settings import Settings
from fedk_client.task import Client, Validation
from fedk_client.worker import TRAIN, VALIDATE, Worker
from fedk_protocol.codec import Arrays, Safetensors, layout_of

T = TypeVar("T")


@dataclass(slots=True)
class DryRun:
    """`lines` runs user code and says what came of it; `faults` are what a server would refuse."""

    app: ClientApp[Any, Any]
    client: Client
    settings: str = "{}"  # a JSON object
    seed: int = 0
    faults: list[str] = field(default_factory=list)
    read: set[str] = field(default_factory=set)

    def lines(self) -> Iterator[str]:
        """One line for each step, as it is done. User code's exceptions pass through."""
        weights, seconds = _timed(lambda: initial(self.app, seed=self.seed))
        data, data_seconds = _timed(lambda: self.app.load_data(self.client))
        worker = Worker(self.app, self.client, data)
        yield f"model     {describe_model(weights)}, {seconds:.2f} s          data  {data_seconds:.2f} s"
        trained = weights
        if TRAIN in self.app.kinds:
            answer, seconds = _timed(lambda: self._perform(worker, TRAIN, weights))
            trained = answer.blobs[MODEL]
            yield self._train_line(answer, weights, seconds)
            again = self._perform(worker, TRAIN, weights).blobs[MODEL]
            yield f"repeat    same seed, {_compared(trained, again)}"
        if VALIDATE in self.app.kinds:
            before, after = (self._validated(worker, model) for model in (weights, trained))
            yield f"validate  {_change(before, after)}"
        yield f"settings  read: {', '.join(sorted(self.read)) or 'none'}{self._unread()}"

    def _perform(self, worker: Worker[Any, Any], kind: str, weights: Arrays) -> Answer:
        blob = Safetensors().dumps(weights)
        answer = worker.perform(Assignment(kind=kind, seed=self.seed, settings=self.settings, inputs={MODEL: blob}))
        self.read.update(answer.settings_read)
        # the next call may change what the answer's arrays are views of
        blobs = {name: _copied(arrays) for name, arrays in answer.blobs.items()}
        return Answer(blobs=blobs, num_examples=answer.num_examples, metrics=answer.metrics)

    def _train_line(self, answer: Answer, weights: Arrays, seconds: float) -> str:
        faults = list(_faults(answer, weights))
        self.faults += faults
        verdict = "names, shapes, dtypes, finite: ok" if not faults else "; ".join(faults)
        metrics = "".join(f"   train.{name} {value:.3f}" for name, value in answer.metrics.items())
        return f"train     {seconds:.2f} s   num_examples {answer.num_examples:,}{metrics}   {verdict}"

    def _validated(self, worker: Worker[Any, Any], weights: Arrays) -> Validation:
        answer = self._perform(worker, VALIDATE, weights)
        return Validation(num_examples=answer.num_examples, metrics=answer.metrics)

    def _unread(self) -> str:
        unread = sorted(set(Settings.from_json(self.settings)) - self.read)
        return f"   given and not read: {', '.join(unread)}" if unread else ""


def describe_model(weights: Arrays) -> str:
    """4 tensors, 4,810 weights, float64, 38.8 kB."""
    count = sum(int(array.size) for array in weights.values())
    dtypes = " ".join(sorted({str(array.dtype) for array in weights.values()}))
    return f"{len(weights)} tensor{'s' * (len(weights) != 1)}, {count:,} weights, {dtypes}, {_bytes(layout_of(weights).size)}"


def _faults(answer: Answer, weights: Arrays) -> Iterator[str]:
    if difference := layout_of(answer.blobs[MODEL]).mismatch(layout_of(weights)):
        yield f"{difference.reason}: {difference}"
    for name, array in answer.blobs[MODEL].items():
        if bad := int(array.size - np.count_nonzero(np.isfinite(array))):
            yield f"non-finite: {name} has {bad:,} NaN or infinite of {array.size:,}"
    for name, value in answer.metrics.items():
        if not np.isfinite(value):
            yield f"bad-metric: {name} is {value}"
    if not answer.num_examples:
        yield "no-examples: num_examples is 0"


def _compared(one: Arrays, other: Arrays) -> str:
    differing = [name for name in one if name not in other or one[name].tobytes() != other[name].tobytes()]
    return f"other bytes: {', '.join(differing)}" if differing else "same bytes: ok"


def _change(before: Validation, after: Validation) -> str:
    return "   ".join(
        f"validate.{name} {value:.3f} before, {after.metrics.get(name, float('nan')):.3f} after training here"
        for name, value in before.metrics.items()
    )


def _copied(arrays: Arrays) -> Mapping[str, np.ndarray[Any, np.dtype[Any]]]:
    return {name: np.array(array) for name, array in arrays.items()}


def _bytes(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    begin = time.perf_counter()
    return work(), time.perf_counter() - begin
