"""SIGTERM while user code runs: it ends the client in an orderly way, and a second one ends it at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(BaseException):
    """Raised in the main thread by SIGTERM; no Exception, so that user code does not swallow it by chance."""


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM raises Terminated inside, and does what it did before outside. Other threads than the main one: nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    mine = os.getpid()

    def handle(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != mine:  # a child that user code has forked inherits this
            os.kill(os.getpid(), number)
        raise Terminated

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
