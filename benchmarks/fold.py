"""Adding updates up in float64, beside memcpy: how much of the memory's bandwidth it uses, and what each one costs."""

import os
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import BinaryIO

import numpy as np
from benchmarks.aggregation import contributions, write
from benchmarks.row import Row
from benchmarks.scale import Scale

from fedk.aggregation.composition import begin
from fedk.aggregation.state import first_state
from fedk.api.aggregator import Round
from fedk.testing.aggregation import built

MOVED = 20  # bytes a coordinate: a float32 is read, a float64 is read and written


def measure(scale: Scale) -> Iterator[Row]:
    """Turn by turn, of a model of 100 MB; a process with one thread at work each."""
    elements = scale(25_000_000, 1_000_000)
    with tempfile.TemporaryDirectory(prefix="fedk-bench-") as temporary:
        folder = Path(temporary, "updates")
        write(folder, scale(8, 3), elements)
        spent, copied = folding(folder, elements)
    fold, copy = MOVED * elements / 1e9 / spent, 8 * elements / 1e9 / copied
    yield Row("fold into float64", fold, "GB/s", "memcpy", copy, target=0.5, more=True, relative=True)


def folding(folder: Path, elements: int) -> tuple[float, float]:
    """Median seconds of a fold, and of a copy of as many float32."""
    aggregator = built("fedavg")
    base, updates = contributions(folder, aggregator)
    source, target = np.ones(elements, np.float32), np.empty(elements, np.float32)
    under_way = begin(aggregator, base, first_state(aggregator), Round(1, len(updates), len(updates)))
    under_way.fold(updates[0])  # the sums' memory is touched for the first time
    np.copyto(target, source)
    folds, copies = [], []
    for update in updates[1:]:
        began = time.perf_counter()
        under_way.fold(update)
        between = time.perf_counter()
        np.copyto(target, source)
        folds.append(between - began)
        copies.append(time.perf_counter() - between)
    return median(folds), median(copies)


def each(scale: Scale) -> Iterator[Row]:
    """What a round with 1, 2, … updates costs for each of them: fold and step, the next model in a file."""
    elements = scale(5_000_000, 250_000)
    counts = scale((1, 2, 5, 10, 20, 50), (1, 2))
    with tempfile.TemporaryDirectory(prefix="fedk-bench-") as temporary:
        folder = Path(temporary, "updates")
        write(folder, max(counts), elements)
        aggregator = built("fedavg")
        base, updates = contributions(folder, aggregator)
        for count in counts:
            began = time.perf_counter()
            under_way = begin(aggregator, base, first_state(aggregator), Round(1, count, count))
            for update in updates[:count]:
                under_way.fold(update)
            with Path(temporary, "next").open("wb") as model:
                under_way.finish(partial(_write, model), _drop)
                os.fsync(model.fileno())
            passed = 1000 * (time.perf_counter() - began) / count
            name = f"aggregation, {count} × {4 * elements / 1e6:g} MB, each"
            yield Row(name, passed, "ms", curve="updates", x=count)


def _write(file: BinaryIO, data: bytes | memoryview) -> None:
    file.write(data)


def _drop(data: bytes | memoryview) -> None:
    """FedAvg has no state."""
