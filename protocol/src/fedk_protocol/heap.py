"""The heap: what messages take and give back again and again stays with a process that lives for them."""

import ctypes

KEPT = 64 * 2**20
"""Bytes at the end of a heap that may be free before the system gets them back."""

LARGE = 8 * 2**20
"""Bytes of a piece that the system gives by itself and gets back at once: arrays of models, no message."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)
_mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's


def keep() -> None:
    """Let this process keep so much; where the allocator is another one, nothing happens.

    Left to itself, glibc gives back all but some 2 MiB at each chunk of a transfer, and the system has to find and clear
    the same pages for the next one: a round of 4 × 100 MB took 6 % more processor time.
    """
    if _mallopt is not None:
        _mallopt(_TRIM_THRESHOLD, KEPT)
        _mallopt(_MMAP_THRESHOLD, LARGE)
