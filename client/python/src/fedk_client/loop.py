"""The thread in which all connections of this process live: one event loop, begun when first needed.

One, and never closed before the process ends: grpc.aio wakes every loop of a process through one queue, and a loop that
is closed while others go on makes it fail in theirs.
"""

import asyncio
import atexit
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

log = logging.getLogger("fedk_client")
_starting = threading.Lock()
_loops: list[asyncio.AbstractEventLoop] = []


def submit(work: Coroutine[Any, Any, T]) -> "Future[T]":
    """Run it in the connections' thread."""
    return asyncio.run_coroutine_threadsafe(work, _loop())


def soon(call: Callable[[], object]) -> None:
    """Call it in the connections' thread, in the order of the calls to this."""
    _loop().call_soon_threadsafe(call)


def _loop() -> asyncio.AbstractEventLoop:
    if _loops:
        return _loops[0]
    with _starting:
        if not _loops:
            _loops.append(_started())
    return _loops[0]


def _started() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(_unhandled)
    thread = threading.Thread(target=loop.run_forever, name="fedk-connections", daemon=True)
    thread.start()

    def stop() -> None:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()

    atexit.register(stop)
    return loop


def _unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if "PollerCompletionQueue" in str(context.get("handle")):
        # grpc.aio hands this loop events of other loops of the process, a server's in a notebook, that are closed by now
        log.debug("grpc.aio: %s", context.get("exception"))
    else:
        loop.default_exception_handler(context)
