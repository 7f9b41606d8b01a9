"""A leash: who starts a client may hold its standard input, and the client ends when that is closed, even by kill -9."""

import os
import signal
import sys
import threading
import time

ENDING = 10.0
"""Seconds that user code has to come back before the process is killed: there is nobody else left to do it."""


def end_with_stdin() -> None:
    """SIGTERM to this process once its standard input is at its end, and SIGKILL if it has not ended by then."""
    threading.Thread(target=_watch, name="fedk-leash", daemon=True).start()


def _watch() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ENDING)  # the time that the process has; it ends this thread with it
    os.kill(os.getpid(), signal.SIGKILL)
