"""Long work for a request ends with whoever asked."""

import asyncio

import pytest
from starlette.requests import ClientDisconnect, Request

from fedk.admin.check import while_wanted


def asked(*messages: str) -> Request:
    """Then nothing more is heard."""
    said = iter(messages)

    async def receive() -> dict[str, str]:
        try:
            return {"type": next(said)}
        except StopIteration:
            never: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
            return await never

    return Request({"type": "http"}, receive)


async def test_work_is_done_for_who_waits() -> None:
    assert await while_wanted(asked("http.request"), asyncio.sleep(0, 7)) == 7


async def test_work_is_cancelled_when_who_asked_hangs_up() -> None:
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()

    with pytest.raises(ClientDisconnect):
        await while_wanted(asked("http.request", "http.disconnect"), work())
    assert cancelled.is_set()


async def test_what_the_work_raises_is_raised() -> None:
    async def work() -> None:
        raise ValueError("7")

    with pytest.raises(ValueError, match="7"):
        await while_wanted(asked(), work())
