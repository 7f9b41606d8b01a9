"""Repairs: what failed is tried again by itself, later each time. No disk tells when it has room again."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fedk.rounds import events as ev
from fedk.rounds.states import ENDED, Session

FIRST, LONGEST = 1.0, 60.0
"""Seconds until what failed is tried again; each further wait is twice as long, up to the longest."""


def patience(failures: int) -> float:
    """Seconds to wait after so many failures in a row; none before the first."""
    return min(FIRST * 2 ** min(failures - 1, 16), LONGEST) if failures else 0.0


@dataclass(slots=True)
class _Repair:
    failures: int = 0
    timer: asyncio.TimerHandle | None = None


class Repairs:
    """One timer for each session that waits for storage; `attempt` is called when it is time."""

    def __init__(self, attempt: Callable[[str], None]) -> None:
        self._attempt = attempt
        self._repairs: dict[str, _Repair] = {}

    def see(self, old: Session, new: Session, came: Iterable[ev.Event]) -> None:
        """What has become of a session: one that waits for storage is tried again, until a person takes it up."""
        if new.status in ENDED or new.head > old.head:
            self.done(new.id)
        elif new.paused_by != "blocked":
            self.rest(new.id)
        elif any(isinstance(event, ev.Blocked) and event.passing for event in came):
            self.failed(new.id)

    def failed(self, session: str) -> None:
        """It is tried again later than the last time."""
        one = self._repairs.setdefault(session, _Repair())
        self.rest(session)
        one.failures += 1
        one.timer = asyncio.get_running_loop().call_later(patience(one.failures), self._due, session)

    def _due(self, session: str) -> None:
        self._repairs[session].timer = None
        self._attempt(session)

    def rest(self, session: str) -> None:
        """A person has taken it up, or it is over: no attempt is due. If it fails again, it waits on from here."""
        one = self._repairs.get(session)
        if one is not None and one.timer is not None:
            one.timer.cancel()
            one.timer = None

    def done(self, session: str) -> None:
        """It works again, or is not wanted any more."""
        self.rest(session)
        self._repairs.pop(session, None)

    def left(self, session: str) -> float | None:
        """Seconds until the next attempt; None: no attempt is due."""
        one = self._repairs.get(session)
        if one is None or one.timer is None:
            return None
        return max(0.0, one.timer.when() - asyncio.get_running_loop().time())

    def close(self) -> None:
        """Cancel every timer."""
        for session in list(self._repairs):
            self.done(session)
