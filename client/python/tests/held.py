"""User code that waits until a test lets it go on."""

import threading

from fedk_client import Task


class Held:
    """What `app_of` calls as `work`: `begun` is set when it is, and it returns after `go_on`."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, _task: Task[None]) -> None:
        self.begun.set()
        self.go_on.wait()
