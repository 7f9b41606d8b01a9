"""Below: what the combiners below this one hold, as they have reported it, and the sums of it that are here."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fedk.blobs.spool import Spool
from fedk.rounds.clients import Arrival, Wanted
from fedk.rounds.live import Summed
from fedk.rounds.states import session_of

IN_A_SUM = ""
"""Stands for the holder of a result that is nowhere but in a sum: nobody is asked for it."""


@dataclass(frozen=True, slots=True)
class Added:
    """A sum of a combiner below, and what was asked of it when it came."""

    summed: Summed
    shares: Mapping[str, Wanted]  # by task

    def suits(self, wanted: Mapping[str, Wanted]) -> bool:
        """Whether a flush wants these very updates, with these very terms."""
        return all(wanted.get(task) == share for task, share in self.shares.items())


class Below:
    """In memory: a combiner that comes back reports again. Several may hold one result: whoever reported it first is
    asked for it.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._reports: dict[str, dict[str, Arrival]] = {}  # by task, then by who holds it
        self._held: dict[str, dict[str, Arrival]] = {}  # the same by holder, then by task
        self._waiting: dict[str, dict[str, Arrival]] = {}  # as reports: of tasks whose clients answer elsewhere
        self._sums: dict[str, dict[str, Added]] = {}  # by session and name

    def __iter__(self) -> Iterator[Arrival]:
        """What was reported, each result once."""
        return iter([next(iter(found.values())) for found in self._reports.values()])

    # ---- results ----

    def add(self, holder: str, arrival: Arrival) -> None:
        """It holds this result."""
        self._reports.setdefault(arrival.task, {})[holder] = arrival
        self._held.setdefault(holder, {})[arrival.task] = arrival

    def wait(self, holder: str, arrival: Arrival) -> None:
        """It holds this result, which is not believed yet."""
        self._waiting.setdefault(arrival.task, {})[holder] = arrival

    def admit(self, task: str) -> list[Arrival]:
        """What has waited is held like any other; answers it."""
        found = self._waiting.pop(task, {})
        for holder, arrival in found.items():
            self.add(holder, arrival)
        return list(found.values())

    def get(self, task: str) -> Arrival | None:
        """As it was reported first."""
        return next(iter(self._reports.get(task, {}).values()), None)

    def at(self, holder: str, task: str) -> Arrival | None:
        """As this combiner has reported it."""
        return self._reports.get(task, {}).get(holder)

    def of(self, holder: str) -> list[Arrival]:
        """All that it holds."""
        return list(self._held.get(holder, {}).values())

    def holding(self, task: str, sha256: bytes) -> str:
        """Who is asked for the result whose hash begins so; "" for nobody."""
        found = self._reports.get(task, {})
        return next((h for h, arrival in found.items() if h != IN_A_SUM and arrival.sha256.startswith(sha256)), "")

    def lose(self, holder: str, tasks: Iterable[str] | None = None) -> list[str]:
        """It holds these no more, or nothing; answers which of them nobody has any more, not even in a sum."""
        lost = list[str]()
        for task in [*self._waiting, *(one.task for one in self.of(holder))] if tasks is None else list(tasks):
            self._waiting.get(task, {}).pop(holder, None)
            found = self._reports.get(task, {})
            self._let_go(holder, task)
            if (gone := found.pop(holder, None)) is not None and not found:
                if any(task in added.shares for added in self.sums(session_of(task))):
                    found[IN_A_SUM] = gone  # or its verdict would not be asked for, and the sum stay
                else:
                    del self._reports[task]
                    lost.append(task)
        return lost

    def settle(self, task: str) -> tuple[str, ...]:
        """Its verdict is spoken; answers who is to be told."""
        for added in self.sums(session_of(task)):
            if task in added.shares:
                self.drop(added)
        found = self._reports.pop(task, {})
        for holder in found:
            self._let_go(holder, task)
        holders = found | self._waiting.pop(task, {})
        return tuple(holder for holder in holders if holder != IN_A_SUM)

    def _let_go(self, holder: str, task: str) -> None:
        held = self._held.get(holder, {})
        if held.pop(task, None) is not None and not held:
            del self._held[holder]

    # ---- sums ----

    def put(self, session: str, added: Added) -> None:
        """A sum has come."""
        self._sums.setdefault(session, {})[added.summed.name] = added

    def sums(self, session: str) -> list[Added]:
        """Those that are here, by name."""
        return [added for _, added in sorted(self._sums.get(session, {}).items())]

    def drop(self, added: Added) -> None:
        """It is not wanted any more."""
        session = session_of(next(iter(added.shares)))
        found = self._sums.get(session, {})
        if found.pop(added.summed.name, None) is not None:
            self._spool.forget(added.summed.span)
        for task in added.shares:
            if (held := self._reports.get(task, {})).pop(IN_A_SUM, None) is not None and not held:
                del self._reports[task]
        if not found:
            self._sums.pop(session, None)
