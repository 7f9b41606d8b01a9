"""What the other end has said on a stream, for a test to await by kind."""

import asyncio
from typing import Any, Generic, TypeVar

from fedk_protocol.v1.federation_pb2 import ClientMessage, ServerMessage

M = TypeVar("M", ClientMessage, ServerMessage)

PATIENCE = 20.0
"""Seconds that a test waits for the other end: a peer that never speaks fails its test instead of hanging it."""


class StreamEnded(Exception):
    """The other end has ended the stream; no more comes."""


class Mailbox(Generic[M]):
    """Messages in the order of arrival, taken by kind: a receipt and the next task may come in either order."""

    def __init__(self) -> None:
        self.log: list[M] = []
        self._waiting: list[M] = []
        self._end: str | None = None
        self._news = asyncio.Event()

    def put(self, message: M) -> None:
        self.log.append(message)
        self._waiting.append(message)
        self._wake()

    def end(self, how: str) -> None:
        """No more comes; `how` is the status, for the reader of a failure. The first word counts."""
        self._end = self._end or how
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def next(self, *kinds: str) -> Any:
        """The next message of these kinds ("task", "result", …), whatever else has come. Raises StreamEnded."""
        wanted = " or ".join(kinds)
        try:
            async with asyncio.timeout(PATIENCE):  # a test that waits for ever tells nothing
                while (found := self._take(kinds)) is None:
                    if self._end is not None:
                        raise StreamEnded(f"waiting for {wanted}: the stream ended ({self._end}); {self._said()}")
                    await self._news.wait()
        except TimeoutError as error:
            raise AssertionError(f"no {wanted} within {PATIENCE:g} s; {self._said()}") from error
        return found

    async def ended(self) -> str:
        """How the stream ended, once it has."""
        try:
            async with asyncio.timeout(PATIENCE):  # a test that waits for ever tells nothing
                while self._end is None:
                    await self._news.wait()
        except TimeoutError as error:
            raise AssertionError(f"the stream has not ended within {PATIENCE:g} s; {self._said()}") from error
        return self._end

    def kinds(self) -> list[str]:
        """The kinds of all messages so far, in order."""
        return [message.WhichOneof("kind") or "" for message in self.log]

    def _take(self, kinds: tuple[str, ...]) -> Any:
        for position, message in enumerate(self._waiting):
            kind = message.WhichOneof("kind")
            if kind in kinds:
                del self._waiting[position]
                return getattr(message, kind)
        return None

    def _said(self) -> str:
        return f"so far came: {', '.join(self.kinds()) or 'nothing'}"
