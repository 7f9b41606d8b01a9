"""How a combiner reaches its parent: the interface that `network` implements."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from fedk.rounds.clients import Arrival, Joined, Joining, Reply
from fedk_protocol.v1 import tier_pb2 as tier


class Parent(Protocol):
    """The next server up. `say` never blocks: what is said while it is away is said again by `Relay.attached`."""

    @property
    def is_here(self) -> bool:
        """Whether there is a stream to it."""

    def changed(self) -> None:
        """What is said of this combiner and of those below it has changed."""

    def members(self, here: Iterable[tier.Present] = (), gone: Iterable[tier.Present] = ()) -> None:
        """Who is connected here, and who is no more."""

    def report(self, held: Iterable[Arrival] = (), lost: Iterable[str] = ()) -> None:
        """Results that are durable here; tasks whose results are gone."""

    def declined(self, one: tier.Declined) -> None:
        """A result that was not taken, or a client's failure."""

    def sent(self, task: str, *, soon: bool) -> None:
        """The task is on its client's stream; unless `soon`, its result may say so."""

    def said(self, one: tier.Said) -> None:
        """A live curve or a line; may be dropped."""

    async def join(self, joining: Joining) -> Joined:
        """Who a client is. Refused, Redirected, StateError: the parent is away."""

    async def ask(self, client: str, task: str, result_id: str) -> Reply | None:
        """What was said of a result. StateError: the parent is away."""

    async def fetch(self, sha256: bytes, write: Callable[[bytes], None]) -> None:
        """The bytes of a blob. StateError: the parent is away; NotFound."""

    async def deliver(self, first: tier.Delivery, files: Iterable[tuple[Path, int, int]]) -> None:
        """Bytes that it asked for: of each file an offset and a size. StateError: the parent is away; Refused: it does not
        take them now; BlobError: it does not take these, or they cannot be read.
        """
