"""A small result that is in the spool and waits for its commit: what costs less than a task for each of a thousand."""

from dataclasses import dataclass
from typing import Any, Protocol

from fedk.rounds.clients import Arrival
from fedk_protocol.v1 import federation_pb2 as pb


class Owner(Protocol):
    """Who has sent it."""

    def answered(self, awaited: "Awaited", answer: Any) -> None:
        """By the commit; None: the rows must be asked."""

    def failed(self, awaited: "Awaited", error: Exception) -> None:
        """It is not in the rows."""


@dataclass(slots=True, eq=False)
class Awaited:
    """`held` bytes of memory are its own until it is answered."""

    owner: Owner
    result: pb.Result
    received: int
    held: int
    arrival: Arrival | None = None  # once it has passed intake
    over: bool = False

    def done(self) -> bool:
        return self.over

    def set_result(self, reply: Any, /) -> None:
        self.over = True
        self.owner.answered(self, reply)

    def set_exception(self, error: Exception, /) -> None:
        self.over = True
        self.owner.failed(self, error)
