"""The heap: what messages take and give back again and again stays with a process that lives for them."""

import ctypes

KEPT = 8 * 2**20
"""Bytes at the end of a heap that may be free before the system gets them back: what a few transfers have on their way."""

LARGE = 2**20
"""Bytes of a piece that the system gives by itself and gets back at once: arrays of models, no message."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # mallopt(3)
_mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's


def keep(*, shared: bool = False) -> None:
    """Let this process keep so much; where the allocator is another one, nothing happens.

    Left to itself, glibc gives back all but some 2 MiB at each chunk of a transfer, and the system has to find and clear
    the same pages for the next one. `shared` is for a process whose threads do little but pass on messages: one heap
    for all of them instead of one each, in which what one has given back is there for the others.
    """
    if _mallopt is not None:
        _mallopt(_TRIM_THRESHOLD, KEPT)
        _mallopt(_MMAP_THRESHOLD, LARGE)
        if shared:
            _mallopt(_ARENA_MAX, 1)
