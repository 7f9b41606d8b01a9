"""A session while one batch of events is applied to it: what has become of it, and what is to be done.

What several rows of the machine's table share stands here.
"""

from collections.abc import Iterable
from typing import Any

from fedk.rounds import actions as act
from fedk.rounds.copies import replace
from fedk.rounds.counts import elsewhere
from fedk.rounds.states import End, Outcome, Round, Session, Task


class Draft:
    """Changed in place; the session that it began with is not."""

    def __init__(self, state: Session) -> None:
        since = state.round.first_task if state.round else state.next_task
        tasks = {i: t for i, t in state.tasks.items() if t.state != "settled" or t.number >= since}
        self.session = state if len(tasks) == len(state.tasks) else replace(state, tasks=tasks)
        self.actions: list[act.Action] = []
        self._tasks: dict[str, Task] | None = None  # a copy once a task changes

    def set(self, **changes: Any) -> None:
        """Change fields of the session."""
        self.session = replace(self.session, **changes)

    def set_round(self, **changes: Any) -> None:
        """Change fields of the open round, where there is one."""
        if self.session.round is not None:
            self.set(round=replace(self.session.round, **changes))

    def put(self, task: Task) -> None:
        if self._tasks is None:
            self._tasks = dict(self.session.tasks)
            self.set(tasks=self._tasks)
        self._tasks[task.id] = task

    def do(self, action: act.Action) -> None:
        self.actions.append(action)

    def emit(self, event: str, **body: Any) -> None:
        self.do(act.Emit(event, body))

    def asked(self) -> list[act.Select]:
        """The selections asked for, which are no actions any more."""
        found = [action for action in self.actions if isinstance(action, act.Select)]
        self.actions = [action for action in self.actions if not isinstance(action, act.Select)]
        return found

    # ---- tasks ----

    def settle(self, task: Task, outcome: Outcome, reason: str = "", detail: str = "") -> None:
        self.put(replace(task, state="settled", end=End(outcome, reason, detail)))
        self.do(act.Settle(task.id))

    def call_off(self, task: Task, outcome: Outcome, reason: str) -> None:
        """If its answer is still awaited."""
        if task.open:
            self.do(act.Cancel(task.id, reason))
            self.settle(task, outcome, reason)

    def give_up(self, outcome: Outcome, reason: str) -> None:
        """Every task gets its verdict: the open ones `outcome`, the accepted ones are rejected."""
        for task in list(self.session.tasks.values()):
            self.call_off(task, outcome, reason)
            if task.state == "accepted":
                self.settle(task, "rejected", reason)

    def late(self, tasks: Iterable[Task]) -> None:
        """Nobody waits for them any more."""
        for task in tasks:
            self.call_off(task, "rejected", "late")

    # ---- the clock ----

    def clock(self, what: type[act.Arm] | type[act.Disarm]) -> None:
        """Start or stop the deadline that the state has, if it has one."""
        s, r = self.session, self.session.round
        if r is not None and r.state == "open" and r.armed and not r.expired:
            token = r.token
        elif r is not None and r.state == "gathering" and (what is act.Disarm or elsewhere(s)):
            token = r.flushing
        elif s.closing == "asked":
            token = s.measuring
        else:
            return
        self.do(act.Arm(token, s.rules.round.deadline) if what is act.Arm else act.Disarm(token))

    def arm(self) -> None:
        """The open round's deadline runs from now on."""
        self.set_round(armed=True, expired=False)
        if self.session.status == "running":
            self.clock(act.Arm)

    def reopen(self, r: Round) -> None:
        """The round waits for answers again, and its clock goes on where it was stopped."""
        stopped = r.state != "open" or not r.armed
        self.set_round(state="open", frozen=())
        if stopped and not r.expired:
            self.set_round(armed=False)
            if any(t.state == "sent" for t in self.session.making()):
                self.arm()
