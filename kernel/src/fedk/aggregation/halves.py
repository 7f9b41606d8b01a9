"""Halves: the blocks of a large tensor, in two threads where the machine has two processors."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

LEAST = 16
"""Blocks that are worth a second thread: 2 million elements take some milliseconds."""

_CPUS = os.cpu_count() or 1
_THREADS = ThreadPoolExecutor(_CPUS, thread_name_prefix="fedk-half")


def in_halves(starts: range, work: Callable[[range], None]) -> None:
    """Call `work` with all of them, or with each half, at the same time. Returns when all is done; raises what it raised.

    Each thread has scratch of its own; numpy's settings of the caller are those of both.
    """
    middle = len(starts) // 2
    if len(starts) < LEAST or _CPUS == 1:
        work(starts)
        return
    other = _THREADS.submit(copy_context().run, work, starts[middle:])
    try:
        work(starts[:middle])
    finally:
        other.exception()  # not before the other one is done: it writes into the same sums
    other.result()
