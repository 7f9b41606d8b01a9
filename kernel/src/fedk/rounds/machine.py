"""The machine of a session: pure. No clock, no I/O, no asyncio; time is an event.

`advance(state, events) -> (state, actions)`: one batch of events is one transaction; the actions leave after it.
With `draw`, which answers each Select at once, a model is committed and the next one asked for in one transaction.
The table that it follows stands in docs/design.md.
"""

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from math import ceil
from typing import Any, Literal

from fedk.rounds import actions as act
from fedk.rounds import events as ev
from fedk.rounds.counts import drawn, free, measurers, quorum, target
from fedk.rounds.states import ENDED, ROOT, End, Outcome, Round, Session, Task, Token

MEASURING_STEP = 1
"""Step of the tokens of a validation that has tasks of its own."""


def advance(
    state: Session, events: Iterable[ev.Event], *, draw: Callable[[act.Select], ev.Selected] | None = None
) -> tuple[Session, list[act.Action]]:
    """The state after `events`, and what to do about them. Stale and illegal events change nothing."""
    step, coming = _Step(state), list(events)
    while coming:
        for event in coming:
            step.take(event)
        while step.judge():
            pass
        coming = [draw(asked) for asked in step.asked()] if draw is not None else []
    return step.session(), step.actions


class _Step:
    """A session while one batch is applied to it."""

    def __init__(self, state: Session) -> None:
        since = state.round.first_task if state.round else state.next_task
        tasks = {i: t for i, t in state.tasks.items() if t.state != "settled" or t.number >= since}
        self._s = state if len(tasks) == len(state.tasks) else replace(state, tasks=tasks)
        self._tasks: dict[str, Task] | None = None  # a copy once a task changes
        self.actions: list[act.Action] = []

    def session(self) -> Session:
        if self._tasks is not None:
            self._s, self._tasks = replace(self._s, tasks=self._tasks), None
        return self._s

    def _set(self, **changes: Any) -> None:
        self._s = replace(self._s, **changes)

    def _round(self, **changes: Any) -> None:
        if self._s.round is not None:
            self._set(round=replace(self._s.round, **changes))

    def _put(self, task: Task) -> None:
        if self._tasks is None:
            self._tasks = dict(self._s.tasks)
            self._s = replace(self._s, tasks=self._tasks)
        self._tasks[task.id] = task

    def _task(self, task: str) -> Task | None:
        return self._s.tasks.get(task)

    def _emit(self, event: str, **body: Any) -> None:
        self.actions.append(act.Emit(event, body))

    def asked(self) -> list[act.Select]:
        """The selections asked for, which are no actions any more."""
        found = [action for action in self.actions if isinstance(action, act.Select)]
        if found:
            self.actions = [action for action in self.actions if not isinstance(action, act.Select)]
        return found

    # ---- events ----

    def take(self, event: ev.Event) -> None:
        """Apply one event; judging comes after the whole batch."""
        if self._s.status in ENDED and not isinstance(event, ev.Resume | ev.Present | ev.Gone | ev.Changed):
            return
        getattr(self, f"_on_{type(event).__name__.lower()}")(event)

    def _on_start(self, _: ev.Start) -> None:
        if self._s.status == "pending":
            self._set(status="running")
            self._emit("session.running")

    def _on_pause(self, _: ev.Pause) -> None:
        if self._s.status in ("running", "paused") and self._s.paused_by != "person":
            self._pause("person", "paused by a person")

    def _on_blocked(self, event: ev.Blocked) -> None:
        r = self._s.round
        if r is not None and r.state == "folding" and event.fold == r.token:
            self._reopen()  # its fold is over: going on begins another
        if self._s.status == "running":
            self._deselect()  # a gate that failed gave no answer
            self._pause("blocked", event.why)

    def _pause(self, by: Literal["person", "blocked"], why: str) -> None:
        if self._s.status == "running":
            self._clock(act.Disarm)
        self._set(status="paused", paused_by=by, why=why)
        self._emit("session.paused", by=by, why=why)

    def _on_resume(self, _: ev.Resume) -> None:
        if self._s.status == "failed":
            self._set(status="running", why="", round=None)
            self._emit("session.running")
        elif self._s.status == "paused":
            self._go_on()

    def _on_unblocked(self, _: ev.Unblocked) -> None:
        if self._s.status == "paused" and self._s.paused_by == "blocked":
            self._go_on()

    def _go_on(self) -> None:
        self._set(status="running", paused_by="", why="")
        self._flush()
        self._clock(act.Arm)
        self._emit("session.running")

    def _on_stop(self, _: ev.Stop) -> None:
        self._end("stopped", "stopped by a person", "session-stopped")

    def _on_present(self, event: ev.Present) -> None:
        """What it can do may have changed since it was here."""
        one, s = frozenset({event.client}), self._s
        self._set(present=s.present | one if event.trains else s.present - one)
        self._set(validators=s.validators | one if event.validates else s.validators - one)

    def _on_gone(self, event: ev.Gone) -> None:
        self._set(present=self._s.present - {event.client}, validators=self._s.validators - {event.client})
        for task in self._s.outstanding():
            if task.client == event.client:
                self._settle(task, "lost", "lost")
                self._emit("task.lost", task=task.id, client=task.client, round=task.asked_round)

    def _on_selected(self, event: ev.Selected) -> None:
        if self._s.status != "running":
            self._deselect()
            return
        if event.token.step == MEASURING_STEP:
            self._ask_validation(event)
            return
        r = self._s.round
        if r is None or r.selecting != event.token:
            return
        again, busy = drawn(self._s), {t.client for t in self._s.outstanding()}
        vetoed = r.vetoed | (event.vetoed if event.clients else free(self._s))
        self._round(selecting=None, vetoed=vetoed)
        if event.vetoed:
            self._emit("clients.vetoed", round=r.no, clients=sorted(event.vetoed), plugins=list(event.vetoers))
        for client in event.clients:
            if client in self._s.present and client not in busy:
                task = self._ask(client, "train" if r.no else "init", r.no, r.attempt, self._s.head)
                if again:
                    self._emit("task.replaced", task=task.id, client=client, round=r.no)

    def _deselect(self) -> None:
        """Nobody is being selected any more: going on selects again."""
        self._round(selecting=None, measuring=False)
        if self._s.closing == "selecting":
            self._set(closing="due")

    def _ask(self, client: str, kind: str, no: int, attempt: int, base: int) -> Task:
        number = self._s.next_task
        task = Task(f"{self._s.id}-{number}", number, client, kind, no, attempt, base)
        self._set(next_task=number + 1)
        self._put(task)
        self.actions.append(act.Offer(task.id))
        return task

    def _ask_validation(self, event: ev.Selected) -> None:
        r = self._s.round
        if event.token != self._measuring():
            return
        if r is not None and r.measuring:
            self._round(measuring=False, vetoed=r.vetoed | (event.vetoed if event.clients else measurers(self._s)))
            self._ask_validators(event.clients)
        elif self._s.closing == "selecting":
            self._set(closing="asked")
            self._ask_validators(event.clients)
            self._clock(act.Arm)

    def _ask_validators(self, clients: Iterable[str]) -> None:
        busy = {t.client for t in self._s.outstanding()}
        for client in clients:
            if client in self._s.validators and client not in busy:
                self._ask(client, "validate", self._s.head, 0, self._s.head)

    def _on_sent(self, event: ev.Sent) -> None:
        task = self._task(event.task)
        if task is None or task.state != "queued":
            return
        self._put(replace(task, state="sent"))
        r = self._s.round
        if r is not None and r.state == "open" and not r.armed and task.kind != "validate":
            self._arm()

    def _arm(self) -> None:
        self._round(armed=True, expired=False)
        if self._s.status == "running":
            self._clock(act.Arm)

    def _reopen(self) -> None:
        """The round waits for answers again, and its clock goes on where it was stopped."""
        r = self._s.round
        stopped = r is not None and (r.state != "open" or not r.armed)
        self._round(state="open", frozen=())
        if r is not None and stopped and not r.expired:
            self._round(armed=False)
            if any(t.state == "sent" for t in self._s.making()):
                self._arm()

    def _on_result(self, event: ev.Result) -> None:
        task = self._task(event.task)
        if task is None:
            return
        if task.state == "settled":
            self.actions.append(act.Settle(task.id))
        elif task.state == "accepted":
            if task.holder in ("", event.holder):
                self._put(replace(task, holder=event.holder))
            self.actions.append(act.Receipt(task.id))
        elif task.kind == "validate":
            self._settle(replace(task, result_id=event.result_id), "recorded")
            self._emit("task.recorded", task=task.id, client=task.client, round=task.base)
        elif self._s.rules.mode == "async" and self._s.staleness(task) > self._s.rules.async_.max_staleness:
            stale = f"trained on model {task.base}, now it is round {self._s.accepting}"
            self._settle(replace(task, result_id=event.result_id), "rejected", "stale", stale)
        else:
            self._accept(task, event)

    def _accept(self, task: Task, event: ev.Result) -> None:
        no = self._s.accepting
        self._put(replace(task, state="accepted", holder=event.holder, round=no, result_id=event.result_id))
        self.actions.append(act.Receipt(task.id))
        self._emit("update.accepted", task=task.id, client=task.client, round=no)

    def _on_refused(self, event: ev.Refused) -> None:
        self._spoil(event, "rejected", "update.refused")

    def _on_taskfailed(self, event: ev.TaskFailed) -> None:
        task = self._task(event.task)
        self._spoil(event, "failed", "task.failed", **({"kind": task.kind} if task is not None else {}))

    def _spoil(self, event: ev.Refused | ev.TaskFailed, outcome: Outcome, told: str, **more: str) -> None:
        task = self._task(event.task)
        if task is None or not task.open:
            return
        self._settle(task, outcome, event.reason, event.detail)
        about = {"task": task.id, "client": task.client, "round": task.asked_round, **more}
        self._emit(told, **about, reason=event.reason, detail=event.detail)

    def _on_timer(self, event: ev.Timer) -> None:
        r = self._s.round
        if event.token == self._measuring() and self._s.closing == "asked":
            self._late(self._s.outstanding())
        elif r is not None and r.state == "gathering" and event.token == r.flushing:
            self._lose({task.id for task in self._elsewhere()})
        elif r is not None and r.state == "open" and r.armed and event.token == r.token:
            self._round(expired=True)

    def _on_holderlost(self, event: ev.HolderLost) -> None:
        held = {t.id for t in self._s.tasks.values() if t.state == "accepted" and t.holder == event.holder}
        self._lose(held if event.tasks is None else held & event.tasks)

    def _lose(self, tasks: AbstractSet[str]) -> None:
        """Their bytes are gone; their clients still have them."""
        r = self._s.round
        lost = [self._s.tasks[task] for task in sorted(tasks)]
        if r is not None and r.state == "gathering":
            self._clock(act.Disarm)
        for task in lost:
            if task.client in self._s.present:
                self._put(replace(task, state="sent", holder="", round=None))
                self.actions.append(act.Redeliver(task.id))
            else:
                self._settle(task, "rejected", "holder-lost")
        if r is not None and r.state != "folding" and lost:
            self._reopen()

    def _on_holderback(self, event: ev.HolderBack) -> None:
        self._flush(event.holder)

    def _on_draining(self, event: ev.Draining) -> None:
        self._ask_for(event.holder, [t for t in self._s.accepted() if t.holder == event.holder])

    def _on_partial(self, event: ev.Partial) -> None:
        r = self._s.round
        if r is not None and event.name in r.partials:
            self.actions.append(act.PartialReceipt(event.holder, event.number))
            return
        own = {t.id for t in self._s.accepted() if t.holder == event.holder}
        if r is None or not event.tasks or event.tasks - own:
            self.actions.append(act.Refold(event.holder, event.number, tuple(sorted(event.tasks - own))))
            self._flush(event.holder)
            return
        for task in event.tasks:
            self._put(replace(self._s.tasks[task], holder=ROOT, partial=event.name))
        self._round(partials=r.partials | {event.name})
        self.actions.append(act.PartialReceipt(event.holder, event.number))
        self._emit("partial.accepted", round=r.no, combiner=event.holder, updates=len(event.tasks))

    def _on_forwarded(self, event: ev.Forwarded) -> None:
        task = self._task(event.task)
        if task is not None and task.state == "accepted" and task.holder == event.holder:
            self._put(replace(task, holder=ROOT))

    def _on_folded(self, event: ev.Folded) -> None:
        r = self._s.round
        if r is None or r.state != "folding" or event.token != r.token:
            return
        for frozen in r.frozen:
            self._settle(self._s.tasks[frozen], "committed" if r.no else "recorded")
        self._set(head=r.no, round=None)
        self._emit("round.committed", round=r.no, updates=len(r.frozen), target=r.target)
        if r.no and (event.enough or r.no >= self._s.rules.rounds):
            for task in self._s.tasks.values():  # async: those who still train
                self._call_off(task, "cancelled", "cancelled")
            self._set(closing="due", why=event.enough)

    def _on_foldfailed(self, event: ev.FoldFailed) -> None:
        r = self._s.round
        if r is None or r.state != "folding" or event.token != r.token:
            return
        if not event.damaged:
            self._end("failed", event.why, "session-failed")
            return
        sums = {self._s.tasks[name].partial for name in event.damaged} - {""}
        for task in [self._s.tasks[name] for name in r.frozen]:
            if task.id in event.damaged or task.partial in sums:
                self._settle(task, "rejected", "damaged", event.why)
        self._reopen()

    def _on_broken(self, event: ev.Broken) -> None:
        self._end("failed", event.why, "session-failed")

    def _on_changed(self, event: ev.Changed) -> None:
        if self._s.status in ("paused", "failed"):
            self._set(rules=event.rules)

    def _on_recovered(self, _: ev.Recovered) -> None:
        self._deselect()
        for task in self._s.outstanding():
            self.actions.append(act.Offer(task.id))
        for task in self._s.tasks.values():
            if task.state == "accepted" and not task.holder:
                self.actions.append(act.Redeliver(task.id))
        r = self._s.round
        if self._s.status != "running":
            if r is not None and r.state == "folding":
                self._reopen()  # going on begins another fold
            return
        self._flush()
        self._clock(act.Arm)
        if r is not None and r.state == "folding":
            self._fold(r.token, r.frozen)

    # ---- judging ----

    def judge(self) -> bool:
        """Do the next thing that the state calls for; False when there is none."""
        s = self._s
        if s.status != "running":
            return False
        if s.closing:
            return self._judge_closing()
        if s.round is None:
            self._set(round=Round(s.head + 1, first_task=s.next_task))
            return True
        if s.round.state == "open":
            return self._judge_open(s.round)
        if s.round.state == "gathering":
            return self._judge_gathering(s.round)
        return False

    def _judge_open(self, r: Round) -> bool:
        s = self._s
        if r.target == 0:
            return self._aim(r)
        if self._measure(r):
            return True
        count, still = len(s.accepted()), s.making()
        if count >= r.target and count >= quorum(s):
            return self._gather()
        if not r.expired and self._select(r, count, len(still)):
            return True
        if not r.expired and (still or r.selecting is not None):
            return False
        if not r.expired and s.rules.mode == "async":
            if not r.armed:
                self._arm()  # nobody is asked: whom it may ask is looked at again at the deadline
            return False
        return self._gather() if count >= quorum(s) else self._retry(r, count)

    def _aim(self, r: Round) -> bool:
        """Set the target of an attempt, once enough clients are present."""
        aim = target(self._s)
        if aim == 0:
            return False
        self._round(target=aim)
        if r.attempt == 0:
            self._emit("round.open", round=r.no, attempt=1, target=aim)
        elif any(t.state == "sent" for t in self._s.making()):
            self._arm()
        return True

    def _select(self, r: Round, accepted: int, outstanding: int) -> bool:
        if r.selecting is not None:
            return False
        among = free(self._s)
        want = ceil(r.target * self._s.rules.round.over_select - 1e-9) - accepted - outstanding
        if self._s.rules.mode == "async" and r.no > 0:
            want = len(among)
        if r.no == 0:
            want = 1 - accepted - outstanding
        if want <= 0 or not among:
            return False
        token = Token(r.no, r.attempt, r.step, r.serial + 1)
        self._round(selecting=token, serial=token.serial)
        self.actions.append(act.Select(token, min(want, len(among)), among))
        return True

    def _measure(self, r: Round) -> bool:
        """Ask those who only validate for the metrics of the newest model; once, whoever has joined by then."""
        among = measurers(self._s)
        if r.measuring or not among:
            return False
        self._round(measuring=True)
        self._select_validators(among)
        return True

    def _select_validators(self, among: frozenset[str]) -> None:
        clients = self._s.rules.clients
        wanted = max(1, round(clients.fraction * len(among)))
        self.actions.append(act.Select(self._measuring(), min(wanted, clients.max or wanted), among))

    def _gather(self) -> bool:
        if self._s.rules.mode == "sync":
            self._late(self._s.making())
        self._clock(act.Disarm)
        self._round(state="gathering")
        self._flush()
        self._clock(act.Arm)
        return True

    def _elsewhere(self) -> list[Task]:
        """Accepted, and not yet here."""
        return [task for task in self._s.accepted() if task.holder != ROOT]

    def _flush(self, holder: str = "") -> None:
        """Ask combiners for what the gathering round lacks; all of them, or one."""
        r = self._s.round
        if self._s.status == "running" and r is not None and r.state == "gathering":
            for name in sorted({task.holder for task in self._elsewhere()}):
                if holder in ("", name):
                    self._ask_for(name, [task for task in self._elsewhere() if task.holder == name])

    def _ask_for(self, holder: str, tasks: list[Task]) -> None:
        if tasks:
            self.actions.append(act.Flush(holder, tuple(t.id for t in sorted(tasks, key=lambda t: t.number))))

    def _fold(self, token: Token, tasks: tuple[str, ...]) -> None:
        """Counted in the transaction that comes before: whatever noise is drawn for it is paid for by then."""
        self._set(folds=self._s.folds + (token.round > 0))
        self.actions.append(act.Fold(token, tasks))

    def _judge_gathering(self, r: Round) -> bool:
        accepted = sorted(self._s.accepted(), key=lambda t: t.number)
        if self._elsewhere():
            return False
        self.actions.append(act.Disarm(r.flushing))
        self._round(state="folding", frozen=tuple(t.id for t in accepted))
        self._fold(r.token, tuple(t.id for t in accepted))
        return False

    def _retry(self, r: Round, count: int) -> bool:
        short = f"quorum {quorum(self._s)} of {r.target} not reached: {count} updates"
        why = f"{short} {'at the deadline' if r.expired else 'and nobody left who could answer'}"
        if r.attempt >= self._s.rules.round.retries:
            self._end("failed", f"round {r.no}, attempt {r.attempt + 1} of {r.attempt + 1}: {why}", "session-failed")
            return False
        self._clock(act.Disarm)
        self._round(attempt=r.attempt + 1, target=0, vetoed=frozenset(), selecting=None, armed=False, expired=False)
        self._emit("round.retried", round=r.no, attempt=r.attempt + 2, why=why)
        return True

    def _judge_closing(self) -> bool:
        if self._s.closing == "due":
            among = self._s.validators if self._s.rules.validation.every else frozenset()
            if not among:
                self._set(closing="asked")
                return True
            self._set(closing="selecting")
            self._select_validators(among)
        elif self._s.closing == "asked" and not self._s.outstanding():
            self._end("finished", self._s.why, "cancelled")
        return False

    # ---- what several rows of the table share ----

    def _measuring(self) -> Token:
        """Of the validation of the newest model."""
        return Token(self._s.head, 0, MEASURING_STEP)

    def _clock(self, what: type[act.Arm] | type[act.Disarm]) -> None:
        r = self._s.round
        if r is not None and r.state == "open" and r.armed and not r.expired:
            token = r.token
        elif r is not None and r.state == "gathering" and self._elsewhere():
            token = r.flushing
        elif r is None and self._s.closing == "asked" and self._s.outstanding():
            token = self._measuring()
        else:
            return
        self.actions.append(what(token, self._s.rules.round.deadline) if what is act.Arm else act.Disarm(token))

    def _settle(self, task: Task, outcome: Outcome, reason: str = "", detail: str = "") -> None:
        self._put(replace(task, state="settled", end=End(outcome, reason, detail)))
        self.actions.append(act.Settle(task.id))

    def _call_off(self, task: Task, outcome: Outcome, reason: str) -> None:
        if task.open:
            self.actions.append(act.Cancel(task.id, reason))
            self._settle(task, outcome, reason)

    def _late(self, tasks: list[Task]) -> None:
        for task in tasks:
            self._call_off(task, "rejected", "late")

    def _end(self, status: Literal["finished", "failed", "stopped"], why: str, reason: str) -> None:
        self._clock(act.Disarm)
        for task in list(self._s.tasks.values()):
            self._call_off(task, "cancelled" if reason == "cancelled" else "rejected", reason)
            if task.state == "accepted":
                self._settle(task, "rejected", reason)
        self._set(status=status, why=why, round=None, paused_by="")
        self._emit(f"session.{status}", why=why)
