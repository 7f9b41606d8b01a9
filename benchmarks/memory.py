"""What the machine itself can do with bytes: the limit that folding and checking are held against."""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
from benchmarks.row import Row
from benchmarks.scale import Scale

SIZE = 100_000_000
TRIES = 5


def best(work: Callable[[], object]) -> float:
    """Least seconds of a few tries: what the machine can, not what it was given just now."""
    spent = []
    for _ in range(TRIES):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return min(spent)


def synced(data: memoryview) -> None:
    with tempfile.TemporaryFile(dir=".") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def measure(_: Scale) -> Iterator[Row]:
    source = np.ones(SIZE // 4, np.float32)
    target = np.empty_like(source)
    view, gigabytes = source.data.cast("B"), SIZE / 1e9
    yield Row("memcpy", gigabytes / best(lambda: np.copyto(target, source)), "GB/s")
    yield Row("SHA-256", gigabytes / best(lambda: hashlib.sha256(view)), "GB/s")
    yield Row("100 MB written and synced", gigabytes / best(lambda: synced(view)), "GB/s")
    yield Row("40 kB written and synced", 1000 * best(lambda: synced(view[:40_000])), "ms")
