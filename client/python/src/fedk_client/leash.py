"""A leash: who starts a client may hold its standard input, and the client ends when that is closed, even by kill -9."""

import os
import signal
import sys
import threading


def end_with_stdin() -> None:
    """SIGTERM to this process once its standard input is at its end."""
    threading.Thread(target=_watch, name="fedk-leash", daemon=True).start()


def _watch() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
