"""The queue of one client's tasks: round robin over projects, then over sessions."""

from collections import OrderedDict, deque

from fedk.rounds.clients import Offer

Sessions = OrderedDict[str, deque[Offer]]


class FairQueue:
    """A session with many tasks waits behind one with few; within a session the order is kept."""

    def __init__(self) -> None:
        self._projects: OrderedDict[str, Sessions] = OrderedDict()
        self._tasks: set[str] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, task: str) -> bool:
        return task in self._tasks

    def put(self, offer: Offer) -> None:
        """Queue a task; nothing happens when it is queued already."""
        if offer.task not in self._tasks:
            self._tasks.add(offer.task)
            sessions = self._projects.setdefault(offer.work.project, OrderedDict())
            sessions.setdefault(offer.work.session, deque()).append(offer)

    def pop(self) -> Offer | None:
        """The task whose turn it is."""
        if not self._tasks:
            return None
        project, sessions = self._projects.popitem(last=False)
        session, offers = sessions.popitem(last=False)
        offer = offers.popleft()
        if offers:
            sessions[session] = offers
        if sessions:
            self._projects[project] = sessions
        self._tasks.remove(offer.task)
        return offer

    def remove(self, task: str) -> bool:
        """Take a task out; whether it was there."""
        if task not in self._tasks:
            return False
        kept = [offer for sessions in self._projects.values() for offers in sessions.values() for offer in offers]
        self._projects.clear()
        self._tasks.clear()
        for offer in kept:
            if offer.task != task:
                self.put(offer)
        return True
