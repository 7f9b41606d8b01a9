"""The network's worker threads: transfers do not wait for folds, which have threads of their own."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """Hashing, checking and file access; all of it gives the interpreter free."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max(2, os.cpu_count() or 1), thread_name_prefix="fedk-transfer")

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The call's result. A cancelled caller does not wait for it, and the call goes on."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: call(*args, **kwargs))

    async def make(self, undo: Callable[[T], object], call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same; what a cancelled caller does not hear of is handed to `undo`, in the loop, once it is made."""
        making = asyncio.ensure_future(self.run(call, *args, **kwargs))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            making.add_done_callback(partial(_undo, undo))
            raise

    def close(self) -> None:
        """Wait for what is running."""
        self._pool.shutdown(cancel_futures=True)


def _undo(undo: Callable[[T], object], making: "asyncio.Future[T]") -> None:
    if not making.cancelled() and making.exception() is None:
        undo(making.result())
