"""Progress of what takes long, on stderr: one line that is renewed, or in a pipe a line now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fedk.api.printable import printable

_NOW_AND_THEN = 10.0
"""Seconds between two lines of a log; what is done sooner leaves none."""


@contextmanager
def progress(verb: str) -> Iterator[Callable[[str], None]]:
    """Call what it gives with what is next; the line goes when the block is left, however that is."""
    err, said = sys.stderr, time.monotonic()
    live = err.isatty()

    def at(words: str) -> None:
        nonlocal said
        if live:
            print(f"\r\x1b[K{verb} {printable(words)}", end="", file=err, flush=True)
        elif time.monotonic() - said >= _NOW_AND_THEN:
            said = time.monotonic()
            print(f"{verb} {printable(words)}", file=err, flush=True)

    try:
        yield at
    finally:
        if live:
            print("\r\x1b[K", end="", file=err, flush=True)
