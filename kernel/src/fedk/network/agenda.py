"""The agenda: which tasks wait for a client, and which it has."""

from collections.abc import Iterable

from fedk.network.queue import FairQueue
from fedk.rounds.clients import Offer


class Agenda:
    """Of one connected client. `held` are the tasks that it has brought with it, answered or at work."""

    def __init__(self, capacity: int, held: Iterable[str] = ()) -> None:
        self._capacity = capacity
        self._waiting = FairQueue()
        self._active: dict[str, Offer | None] = dict.fromkeys(held)

    @property
    def active(self) -> tuple[str, ...]:
        """The tasks that the client has and has not answered."""
        return tuple(self._active)

    @property
    def waiting(self) -> int:
        """Tasks that the client does not have yet."""
        return len(self._waiting)

    def offer(self, offer: Offer) -> bool:
        """Queue a task; false when the client has it already."""
        if offer.task in self._active:
            self._active[offer.task] = offer
            return False
        self._waiting.put(offer)
        return True

    def next(self) -> Offer | None:
        """The next task for the client, which has it from now on; None while it has enough to do."""
        if len(self._active) >= self._capacity:
            return None
        offer = self._waiting.pop()
        if offer is not None:
            self._active[offer.task] = offer
        return offer

    def withdraw(self, task: str) -> bool:
        """Take a task back; true when the client has it and must be told. It stays busy until it answers."""
        return not self._waiting.remove(task) and task in self._active

    def done(self, task: str) -> None:
        """The client has answered, or has nothing to answer."""
        self._active.pop(task, None)

    def bringing(self, sha256: bytes) -> Offer | None:
        """A task at the client that brings this blob."""
        for offer in self._active.values():
            if offer is not None and any(i.sha256 == sha256 for i in offer.work.inputs.values()):
                return offer
        return None
