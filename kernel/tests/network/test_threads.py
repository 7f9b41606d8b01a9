"""What threads make for a caller that may be gone by then."""

import asyncio
import threading

import pytest

from fedk.network.threads import Threads


async def test_what_is_made_when_nobody_waits_for_it_any_more_is_undone() -> None:
    threads, go, undone = Threads(), threading.Event(), asyncio.get_running_loop().create_future()

    def make(what: str) -> str:
        go.wait(10)
        return what

    making = asyncio.create_task(threads.make(undone.set_result, make, "a file"))
    asyncio.get_running_loop().call_soon(making.cancel)
    with pytest.raises(asyncio.CancelledError):
        await making
    go.set()
    async with asyncio.timeout(10):
        assert await undone == "a file"
    threads.close()


async def test_what_somebody_waits_for_is_theirs() -> None:
    threads, undone = Threads(), list[str]()
    assert await threads.make(undone.append, str, "a file") == "a file"
    assert undone == []
    threads.close()
