"""Schedules of the machine alone: what a runner and its clients may do to it, in any order, from a seed."""

import random
from dataclasses import replace
from typing import Any

from tests.simulation.combiners import Combiners, holders
from tests.simulation.invariants import check, of_state, of_step
from tests.simulation.laws import of_batch, of_clock

from fedk.rounds import actions as act
from fedk.rounds import events as ev
from fedk.rounds.counts import fewest, quorum
from fedk.rounds.machine import advance
from fedk.rounds.rules import Rules
from fedk.rounds.states import ENDED, FINAL, FLUSH, MEASURING_STEP, ROOT, Session, Task, Token

NAMES = "abcde"
STEPS = 3_000
"""Batches within which every schedule ends; most need fewer than 100."""


def rules(g: random.Random) -> Rules:
    given = {
        "rounds": 3,
        "mode": g.choice(["sync", "sync", "async"]),
        "async": {"buffer": g.choice([1, 3]), "max_staleness": g.choice([1, 9])},
        "clients": {"fraction": g.choice([0.5, 1.0]), "min": g.choice([1, 2, 4]), "max": g.choice([None, 4])},
        "round": {
            "quorum": g.choice([0.5, 0.8, 1.0]),
            "over_select": g.choice([1.0, 1.5]),
            "retries": g.choice([0, 2, 5]),
            "replace": g.choice([True, False]),
        },
        "validation": {"every": g.choice([0, 1])},
    }
    return Rules.model_validate(given).settled(minimum=1, seed=1)


class Schedule:
    """One: the state, what is on its way, and what was promised."""

    def __init__(self, seed: int) -> None:
        self.g = random.Random(seed)
        self.state = Session(id="s", rules=rules(self.g), head=self.g.choice([-1, 0, 0]))
        self.net: list[ev.Event] = [ev.Start(), *(self.joins(c) for c in NAMES)]
        self.armed: Token | None = None  # the clock that runs
        self.receipts: set[str] = set()
        self.settled: dict[str, Any] = {}
        self.seen: dict[str, Task] = {}
        self.resumes = 0
        self.recovering = False  # in this batch: clocks go on
        self.strict = self.g.choice([0.0, 0.0, 0.2])  # gates
        self.combiners = Combiners(self.g)

    def joins(self, client: str) -> ev.Present:
        return ev.Present(client, self.g.random() < 0.9, self.g.random() < 0.95)

    def play(self) -> "Schedule":
        for _ in range(STEPS):
            if self.state.status in FINAL or (self.state.status == "failed" and self.resumes > 1):
                break
            if not self.net:
                self.nudge()
            self.batch(
                [
                    self.net.pop(self.g.randrange(len(self.net)))
                    for _ in range(min(len(self.net), self.g.choice([1, 1, 3])))
                ]
            )
            self.happen()
        else:
            check(False, f"no end: {self.state.status}, head {self.state.head}, {self.state.round}")
        self.end()
        return self

    def batch(self, events: list[ev.Event]) -> None:
        before = self.state
        if any(isinstance(e, ev.Timer) and e.token == self.armed for e in events):
            self.armed = None
        self.state, actions = advance(before, events)
        of_step(before, self.state)
        of_state(self.state)
        of_batch(before, self.state, events, actions)
        self.seen |= self.state.tasks
        self.recovering = any(isinstance(e, ev.Recovered) for e in events)
        for action in actions:
            self.perform(action)
        of_clock(self.state, self.armed)
        self.judged(events)

    def judged(self, events: list[ev.Event]) -> None:
        """What the table says of the state after a batch."""
        s, r = self.state, self.state.round
        for task in self.seen.values():
            if task.id in s.tasks:
                self.seen[task.id] = s.tasks[task.id]
        lost = any(
            isinstance(e, ev.HolderLost) or (isinstance(e, ev.Timer) and e.token.serial == FLUSH) for e in events
        )
        for event in () if lost else events:
            known = self.seen.get(getattr(event, "task", ""))
            if isinstance(event, ev.Result) and known is not None and s.status not in ENDED and known.id in s.tasks:
                check(known.state in ("accepted", "settled"), f"answered, and {known.state}: {known}")
        if s.status != "running" or r is None or r.state != "open":
            return
        accepted, target = len(s.accepted()), r.target
        check(target == 0 or not (accepted >= target and accepted >= quorum(s)), f"full, and open: {r}")
        check(r.target == 0 or not (r.expired and accepted >= quorum(s)), f"past its deadline with a quorum: {r}")
        sent = any(t.state == "sent" and t.asked_round == r.no for t in s.outstanding())
        if s.rules.mode == "sync" and sent and target:
            check(r.armed, f"a task is out, and no clock runs: {r}")

    def select(self, action: act.Select) -> None:
        g, count = self.g, min(action.count, len(action.among))
        check(count > 0, f"nobody to select: {action}")
        vetoed = frozenset(c for c in sorted(action.among) if g.random() < self.strict)
        pool = sorted(action.among - vetoed)
        chosen = tuple(g.sample(pool, min(count, len(pool))))
        self.net.append(ev.Selected(action.token, chosen, vetoed))

    def arm(self, token: Token) -> None:
        check(self.armed != token or self.recovering, f"a clock that runs begins anew: {token}")
        self.armed = token
        if self.g.random() < 0.6:
            self.net.append(ev.Timer(token))

    def disarm(self, token: Token) -> None:
        self.armed = None if self.armed == token else self.armed
        self.net = [e for e in self.net if e != ev.Timer(token)]

    def receipt(self, task: str) -> None:
        check(self.state.tasks[task].result_id != "", f"a receipt for nothing: {task}")
        self.receipts.add(task)

    def settle(self, task: str) -> None:
        end = self.state.tasks[task].end
        check(end is not None, f"no verdict to tell: {task}")
        check(self.settled.setdefault(task, end) == end, f"another verdict on {task}: {end}")

    def perform(self, action: act.Action) -> None:
        match action:
            case act.Select():
                self.select(action)
            case act.Offer():
                self.offer(action.task)
            case act.Cancel():
                check(action.task in self.seen, f"an unknown task is called off: {action}")
            case act.Arm() | act.Disarm():
                (self.arm if isinstance(action, act.Arm) else self.disarm)(action.token)
            case act.Flush() | act.PartialReceipt() | act.Refold():
                self.net += self.combiners.hear(action)
            case act.Fold():
                self.net.append(self.folded(action))
            case act.Receipt():
                self.receipt(action.task)
            case act.Redeliver():
                self.net.append(self.combiners.redeliver(action.task))
            case act.Settle():
                self.settle(action.task)

    def offer(self, task: str) -> None:
        g = self.g
        holder = self.combiners.holder()
        self.net.append(ev.Sent(task))
        luck = g.random()
        if luck < 0.75:
            self.net.append(self.combiners.deliver(task, "r", holder))
        elif luck < 0.8:
            self.net += self.combiners.twice(task, "r")
        elif luck < 0.86:
            self.net.append(ev.TaskFailed(task, "raised"))
        elif luck < 0.92:
            self.net.append(ev.Refused(task, "non-finite"))
        if luck < 0.1:
            self.net.append(ev.Result(task, g.choice(["r", "other"]), ROOT))

    def folded(self, action: act.Fold) -> ev.Event:
        luck = self.g.random()
        if luck < 0.03:
            return ev.FoldFailed(action.token, "damaged", action.tasks[:1])
        if luck < 0.04:
            return ev.FoldFailed(action.token, "the formula")
        if luck < 0.06:
            return ev.Blocked("no space left", action.token)
        return ev.Folded(action.token, "enough" if luck < 0.1 else "")

    def happen(self) -> None:
        g, luck = self.g, self.g.random()
        events: list[ev.Event] = []
        if luck < 0.03:
            events = [ev.Gone(g.choice(NAMES))]
        elif luck < 0.06:
            events = [ev.Present(g.choice(NAMES), trains=g.random() < 0.8)]
        elif luck < 0.08:
            events = [ev.Pause() if g.random() < 0.5 else ev.Blocked("a plugin is missing")]
        elif luck < 0.1:
            events = [ev.Resume() if g.random() < 0.5 else ev.Unblocked()]
        elif luck < 0.102:
            events = [ev.Stop()]
        elif luck < 0.11:
            self.crash()
        events += self.combiners.trouble(self.state)
        self.net += events
        if luck > 0.95:
            self.batch([self.stray()])  # now: later it might be none

    def stray(self) -> ev.Event:
        """Of another opening, or of one that is over: it must change nothing."""
        g, r = self.g, self.state.round
        stale = Token(g.randrange(3), g.randrange(2), g.choice([0, 0, MEASURING_STEP]), g.choice([0, FLUSH, 1]))
        if r is not None and g.random() < 0.5:
            stale = g.choice([r.token, r.flushing, self.state.measuring])
        if stale == self.armed:  # that would be no stray
            return ev.Start()
        strays: list[ev.Event] = [
            ev.Timer(stale),
            ev.Selected(stale, (g.choice(NAMES),)),
            ev.Start(),
            ev.Blocked("stale", stale),
        ]
        if r is None or r.state != "folding" or stale != r.token:
            strays += [ev.Folded(stale), ev.FoldFailed(stale, "stale"), ev.FoldFailed(stale, "stale", ("s-1",))]
        return g.choice(strays)

    def crash(self) -> None:
        """What was under way is forgotten, what clients hold is not."""
        kept = (ev.Result, ev.Start, ev.Resume, ev.Stop, ev.HolderLost, ev.Partial, ev.Forwarded)
        self.net = [e for e in self.net if isinstance(e, kept)]
        self.armed, again = None, [ev.Present(c) for c in sorted(self.state.present)]
        unblocked = [ev.Unblocked()] if self.state.paused_by == "blocked" else []
        self.state = replace(self.state, present=frozenset(), validators=frozenset())
        self.batch([*again, *unblocked, ev.Recovered()])

    def nudge(self) -> None:
        """Nothing is under way: what a person, a client or the clock does now. If the machine waits, it says for what."""
        s = self.state
        away = sorted(set(NAMES) - s.present)
        if s.status == "failed":
            self.resumes += 1
            self.net.append(ev.Resume())
        elif s.status == "paused":
            self.net.append(ev.Resume())
        elif s.round is not None and s.round.state == "folding":
            check(False, f"nobody folds {s.round}")
        elif holders(s):
            holder = self.g.choice(holders(s))
            happens: list[ev.Event] = [ev.HolderLost(holder), ev.HolderBack(holder), ev.Draining(holder)]
            self.net.append(self.g.choice(happens))
        elif s.outstanding() and self.armed is not None and self.g.random() < 0.5:
            self.net.append(ev.Timer(self.armed))
        elif away:
            self.net.append(ev.Present(self.g.choice(away)))
        elif s.outstanding():
            self.net += [ev.Result(t.id, "r", ROOT) for t in s.outstanding()]
        else:
            waits = s.round is not None and (len(s.present | {t.client for t in s.accepted()}) < fewest(s))
            waits = waits or (s.rules.mode == "async" and bool(s.round and s.round.vetoed))
            self.net.append(ev.Stop())
            check(waits, f"nothing is awaited: {s.status}, {s.closing}, {s.round}")

    def end(self) -> None:
        for given in self.receipts:
            check(given in self.settled, f"a receipt without a verdict: {self.seen[given]}")
        for task in self.seen.values():
            check(task.state == "settled", f"open at the end: {task}")
