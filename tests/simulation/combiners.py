"""Combiners as the machine meets them: what they hold, what they believe, and what is lost between."""

import random
from collections.abc import Iterable

from tests.simulation.invariants import check

from fedk.rounds import actions as act
from fedk.rounds import events as ev
from fedk.rounds.states import ROOT, Session

NAMES = ["near", "far"]
ROUND = 12
"""Newest results that a stale combiner still believes to hold."""


class Combiners:
    """All of one schedule. They answer with events; `lost` counts the receipts that did not reach them."""

    def __init__(self, g: random.Random) -> None:
        self.g = g
        self.share = g.choice([0.05, 0.3, 0.6])  # of the results, that combiners get
        self.partials: dict[tuple[str, frozenset[str]], int] = {}  # numbers by holder and what is summed: never others
        self.summed: dict[str, str] = {}  # the partial that the root has taken, by task
        self.believed: dict[str, list[str]] = {name: [] for name in NAMES}  # what each has had of clients
        self.happened: set[str] = set()  # kinds of mishap

    def holder(self) -> str:
        """Where a client delivers."""
        return ROOT if self.g.random() > self.share else self.g.choice(NAMES)

    def deliver(self, task: str, result_id: str, holder: str) -> ev.Result:
        """A client gives its result, and the report of it is on its way."""
        if holder != ROOT:
            self.believed[holder].append(task)
        return ev.Result(task, result_id, holder)

    def twice(self, task: str, result_id: str) -> list[ev.Event]:
        """A client that heard no receipt of one gives its result to the other, and both report it."""
        self.happened.add("double return")
        return [self.deliver(task, result_id, name) for name in NAMES]

    def redeliver(self, task: str) -> ev.Event:
        """Asked to deliver again, a client does so wherever it now is."""
        holder = self.g.choice([ROOT, ROOT, *NAMES])
        if holder != ROOT:
            self.happened.add("redelivery to another holder")
        return self.deliver(task, "r", holder)

    def hear(self, action: act.Flush | act.PartialReceipt | act.Refold) -> list[ev.Event]:
        """What they do when they are told something."""
        if isinstance(action, act.Flush):
            return self._flush(action.holder, frozenset(action.tasks))
        tasks = next(t for (h, t), no in self.partials.items() if (h, no) == (action.holder, action.number))
        if isinstance(action, act.Refold):
            return self._flush(action.holder, tasks - set(action.without))
        if self.g.random() < 0.2:
            self.happened.add("lost receipt of a partial")
            return [ev.Partial(action.holder, action.number, tasks)]
        self.taken(action.holder, action.number, tasks)
        return []

    def taken(self, holder: str, number: int, tasks: Iterable[str]) -> None:
        name = f"{holder}#{number}"
        for task in tasks:
            check(self.summed.setdefault(task, name) == name, f"in two partials: {task}, {name}")

    def _flush(self, holder: str, tasks: frozenset[str]) -> list[ev.Event]:
        """It sums, twice, in two parts, or more than it was asked; hands on one by one; or does nothing at all."""
        luck, some = self.g.random(), frozenset(sorted(tasks)[: len(tasks) // 2])
        if not tasks or luck < 0.1:
            return []
        if luck < 0.2:
            return [ev.Forwarded(holder, task) for task in sorted(tasks)]
        if luck < 0.4:
            parts = [some, tasks - some]
        elif luck < 0.5:
            parts = [tasks, tasks]
        elif luck < 0.6:
            parts = [tasks | {self.g.choice(self.believed[holder])}] if self.believed[holder] else [tasks]
        else:
            parts = [tasks]
        return [self._partial(holder, part) for part in parts if part]

    def _partial(self, holder: str, tasks: frozenset[str]) -> ev.Partial:
        return ev.Partial(holder, self.partials.setdefault((holder, tasks), len(self.partials) + 1), tasks)

    def trouble(self, s: Session) -> list[ev.Event]:
        """One is lost, with all or some of what it holds, comes back, drains; or believes what is no longer so."""
        g = self.g
        if g.random() > 0.15:
            return []
        believed = {name: tasks[-ROUND:] for name, tasks in self.believed.items() if tasks}
        if believed and g.random() < 0.5:
            return [self._stale(*g.choice(sorted(believed.items())))]
        holding = holders(s)
        if not holding:
            return [(ev.HolderLost if g.random() < 0.5 else ev.HolderBack)(g.choice(NAMES))]
        held = [t.id for t in s.tasks.values() if t.state == "accepted" and t.holder != ROOT]
        holder, some = g.choice(holding), frozenset(g.sample(held, g.randrange(len(held)) + 1))
        back = ev.HolderBack(holder)
        happens: list[list[ev.Event]] = [
            [ev.HolderLost(holder)],
            [ev.HolderLost(holder, some)],
            [back],
            [back, back],
            [ev.Draining(holder)],
        ]
        return g.choice(happens)

    def _stale(self, holder: str, believed: list[str]) -> ev.Event:
        """It sums or hands on what it once had, whoever has it now, and whatever has become of it."""
        self.happened.add("stale combiner")
        some = frozenset(self.g.sample(believed, self.g.randrange(len(believed) + 1)))
        hands_on = some and self.g.random() < 0.2
        return ev.Forwarded(holder, min(some)) if hands_on else self._partial(holder, some)


def holders(s: Session) -> list[str]:
    """Combiners that hold accepted updates."""
    return sorted({t.holder for t in s.tasks.values() if t.state == "accepted"} - {ROOT})
