"""Blobs that are fetched for several, some of whom do not wait for them."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedk.api.errors import NotFound, StateError
from fedk.blobs.reader import Span
from fedk.combiner.inputs import Inputs

BLOB = bytes(range(1, 256)) * 1_000
HASH = hashlib.sha256(BLOB).digest()
HALF = len(BLOB) // 2


class Slow:
    """A parent whose first call gives half of the blob at once, and each the rest once it may."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()
        self._at_once = HALF

    async def fetch(self, sha256: bytes, write: Callable[[bytes], None]) -> None:
        at, self._at_once = self._at_once, 0
        write(BLOB[:at])
        may = asyncio.get_running_loop().create_future()
        self.calls.put_nowait(may)
        await may
        write(BLOB[at:])


def whole(span: Span) -> bool:
    return Path(span.path).read_bytes() == BLOB


async def gone(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    await asyncio.wait({task})


async def test_who_goes_leaves_the_blob_to_those_who_wait_for_it_too(tmp_path: Path) -> None:
    inputs, parent = Inputs(tmp_path / "inputs"), Slow()
    parent_: Any = parent
    waiting, going = (asyncio.create_task(inputs.use(HASH, parent_)) for _ in range(2))
    may = await parent.calls.get()
    await gone(going)
    late = asyncio.create_task(inputs.use(HASH, parent_))
    await asyncio.sleep(0)
    may.set_result(None)
    span = await waiting
    assert whole(span)
    assert parent.calls.empty()
    await late
    for _ in range(2):
        inputs.release(HASH)
    assert not list((tmp_path / "inputs").iterdir())


async def test_what_nobody_waits_for_any_more_leaves_nothing(tmp_path: Path) -> None:
    inputs, parent = Inputs(tmp_path / "inputs"), Slow()
    parent_: Any = parent
    going = asyncio.create_task(inputs.use(HASH, parent_))
    may = await parent.calls.get()
    await gone(going)
    anew = asyncio.create_task(inputs.use(HASH, parent_))
    again = await parent.calls.get()
    if not may.done():
        may.set_result(None)
    await asyncio.sleep(0)
    with pytest.raises(NotFound):
        inputs.span(HASH)  # half of it
    again.set_result(None)
    assert whole(await anew)
    inputs.release(HASH)
    assert not inputs._sizes


async def test_a_fetch_that_failed_does_not_take_the_next_one_with_it(tmp_path: Path) -> None:
    inputs, parent = Inputs(tmp_path / "inputs"), Slow()
    parent_: Any = parent

    async def tries_again() -> Span:
        with pytest.raises(StateError):
            await inputs.use(HASH, parent_)
        return await inputs.use(HASH, parent_)

    async def tries_once() -> None:
        with pytest.raises(StateError):
            await inputs.use(HASH, parent_)

    again, once = asyncio.create_task(tries_again()), asyncio.create_task(tries_once())
    (await parent.calls.get()).set_exception(StateError("away"))
    await once
    may = await parent.calls.get()
    late = asyncio.create_task(inputs.use(HASH, parent_))
    await asyncio.sleep(0)
    may.set_result(None)
    assert whole(await again)
    assert parent.calls.empty()
    await late
