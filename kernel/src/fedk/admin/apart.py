"""Foreign code that a request asks for, and that may not end: it keeps neither a thread that others need nor the process."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


async def apart(work: Callable[[], T]) -> T:
    """What `work` returns or raises, done by a thread of its own. Starlette's are few, and each is awaited at the end."""
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()  # it cannot be taken back

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001  # raised again where it is awaited
            outcome.set_exception(error)

    Thread(target=run, name="fedk-apart", daemon=True).start()
    return await asyncio.wrap_future(outcome)
