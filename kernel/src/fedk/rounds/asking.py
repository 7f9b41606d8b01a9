"""Whom a session asks: selections, and the tasks that come of them."""

from collections.abc import Iterable, Sequence
from math import ceil

from fedk.rounds import actions as act
from fedk.rounds import events as ev
from fedk.rounds.copies import replace
from fedk.rounds.counts import drawn, free, measurers
from fedk.rounds.draft import Draft
from fedk.rounds.states import MEASURING_STEP, Round, Task, Token, task_id


def present(d: Draft, event: ev.Present) -> None:
    """What it can do may have changed since it was here."""
    one, s = frozenset({event.client}), d.session
    d.set(present=s.present | one if event.trains else s.present - one)
    d.set(validators=s.validators | one if event.validates else s.validators - one)


def gone(d: Draft, event: ev.Gone) -> None:
    d.set(present=d.session.present - {event.client}, validators=d.session.validators - {event.client})
    reason = "lost" if d.session.status == "running" else "session-paused"
    for task in d.session.outstanding():
        if task.client == event.client:
            d.settle(task, "lost", reason)
            d.emit("task.lost", task=task.id, client=task.client, round=task.asked_round)


def select(d: Draft, r: Round, accepted: int, outstanding: int) -> bool:
    """Ask for a draw of those whom the round still wants; False when there are none."""
    if r.selecting is not None:
        return False
    among = free(d.session)
    if r.no == 0:
        want = 1 - accepted - outstanding
    elif d.session.rules.mode == "async":
        want = len(among)
    else:
        want = ceil(r.target * d.session.rules.round.over_select - 1e-9) - accepted - outstanding
    if want <= 0 or not among:
        return False
    token = Token(r.no, r.attempt, r.step, r.serial + 1)
    d.set_round(selecting=token, serial=token.serial)
    d.do(act.Select(token, min(want, len(among)), among))
    return True


def selected(d: Draft, event: ev.Selected) -> None:
    if d.session.status != "running":
        deselect(d)
        return
    if event.token.step == MEASURING_STEP:
        _measurers(d, event)
        return
    r = d.session.round
    if r is None or r.selecting != event.token:
        return
    again, busy = drawn(d.session), {t.client for t in d.session.outstanding()}
    vetoed = r.vetoed | (event.vetoed if event.clients else free(d.session))
    d.set_round(selecting=None, vetoed=vetoed)
    if event.vetoed:
        d.emit("clients.vetoed", round=r.no, clients=sorted(event.vetoed), plugins=list(event.vetoers))
    free_now = [client for client in event.clients if client in d.session.present and client not in busy]
    for task in _ask(d, free_now, "train" if r.no else "init", r.no, r.attempt):
        if again:
            d.emit("task.replaced", task=task.id, client=task.client, round=r.no)


def deselect(d: Draft) -> None:
    """Nobody is being selected any more: going on selects again."""
    d.set_round(selecting=None, measuring=False)
    if d.session.closing == "selecting":
        d.set(closing="due")


def _ask(d: Draft, clients: Sequence[str], kind: str, no: int, attempt: int) -> Sequence[Task]:
    first, head = d.session.next_task, d.session.head
    tasks = [
        Task(task_id(d.session.id, number), number, client, kind, no, attempt, base=head)
        for number, client in enumerate(clients, first)
    ]
    d.set(next_task=first + len(tasks))
    for task in tasks:
        d.put(task)
        d.do(act.Offer(task.id))
    return tasks


def sent(d: Draft, event: ev.Sent) -> None:
    task = d.session.tasks.get(event.task)
    if task is None or task.state != "queued":
        return
    d.put(replace(task, state="sent"))
    r = d.session.round
    if r is not None and r.state == "open" and not r.armed and task.kind != "validate":
        d.arm()


# ---- those who only validate ----


def measure(d: Draft, r: Round) -> bool:
    """Ask those who only validate for the metrics of the newest model; once, whoever has joined by then."""
    among = measurers(d.session)
    if r.measuring or not among:
        return False
    d.set_round(measuring=True)
    select_validators(d, among)
    return True


def select_validators(d: Draft, among: frozenset[str]) -> None:
    clients = d.session.rules.clients
    wanted = max(1, round(clients.fraction * len(among)))
    d.do(act.Select(d.session.measuring, min(wanted, clients.max or wanted), among))


def _measurers(d: Draft, event: ev.Selected) -> None:
    r = d.session.round
    if event.token != d.session.measuring:
        return
    if r is not None and r.measuring:
        d.set_round(measuring=False, vetoed=r.vetoed | (event.vetoed if event.clients else measurers(d.session)))
        _ask_validators(d, event.clients)
    elif d.session.closing == "selecting":
        d.set(closing="asked")
        _ask_validators(d, event.clients)
        d.clock(act.Arm)


def _ask_validators(d: Draft, clients: Iterable[str]) -> None:
    busy = {t.client for t in d.session.outstanding()}
    free_now = [client for client in clients if client in d.session.validators and client not in busy]
    _ask(d, free_now, "validate", d.session.head, 0)
