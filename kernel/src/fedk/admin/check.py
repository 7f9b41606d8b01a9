"""What checking a model has shown, and how far it was checked."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from fedk.rounds.replay import Replayed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Check:
    """Of one model; "" where nothing is wrong."""

    bytes: str  # what is wrong with them
    digest: str
    collected: str  # by which rule its bytes are gone
    replayed: Replayed | None = None  # None: it was not tried

    @property
    def verified(self) -> str:
        """The most that was shown: nothing | digest | hash | replayed, each with all before it."""
        if self.digest:
            return "nothing"
        if self.bytes or self.collected:
            return "digest"
        return "replayed" if self.replayed == Replayed() else "hash"

    @property
    def _untried(self) -> str:
        if self.bytes or self.collected:
            return "its bytes are not there to compare with"
        return "not asked for: ?replay=true"

    def document(self) -> dict[str, Any]:
        tried = self.replayed or Replayed(unable=self._untried)
        return {
            "bytes": self.bytes,
            "digest": self.digest,
            "collected": self.collected,
            "replay": tried.differs,
            "not_replayed": tried.unable,
            "verified": self.verified,
            "whole": not (self.bytes or self.digest or tried.differs),
        }


async def while_wanted(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What takes long ends when nobody waits for its answer any more."""
    doing, leaving = asyncio.create_task(work), asyncio.create_task(_left(request))
    try:
        await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ClientDisconnect
        return doing.result()
    finally:
        for task in (doing, leaving):
            task.cancel()
        await asyncio.wait({doing, leaving})


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
