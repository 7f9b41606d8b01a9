"""SIGTERM while user code runs: it ends the client in an orderly way, and a second one ends it at once."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(BaseException):
    """Raised in the main thread by SIGTERM; no Exception, so that user code does not swallow it by chance."""


@contextmanager
def terminable(nudge: Callable[[], None]) -> Iterator[None]:
    """SIGTERM raises Terminated inside, and does what it did before outside. Other threads than the main one: nothing.

    `nudge` wakes the main thread where it waits, from another thread, after each signal: Python runs a handler only when
    the main thread next does something, and a signal that comes just before it goes to sleep does not keep it awake.
    """
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
        with _noticed(nudge):
            yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@contextmanager
def _noticed(nudge: Callable[[], None]) -> Iterator[None]:
    noticing, writing = socket.socketpair()
    writing.setblocking(False)

    def notice() -> None:
        with noticing:
            while noticing.recv(64):
                nudge()

    before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=notice, name="fedk-signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        writing.close()
