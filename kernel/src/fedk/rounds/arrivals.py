"""The table's rows of what clients answer: the first answer to a task counts, and each gets its word again."""

from fedk.rounds import actions as act
from fedk.rounds import events as ev
from fedk.rounds.copies import replace
from fedk.rounds.draft import Draft
from fedk.rounds.states import Outcome, Task


def result(d: Draft, event: ev.Result) -> None:
    task, s = d.session.tasks.get(event.task), d.session
    if task is None:
        return
    if task.state == "settled":
        d.do(act.Settle(task.id))
    elif task.state == "accepted":
        d.do(act.Receipt(task.id))
    elif task.kind == "validate":
        d.do(act.Keep(event))
        d.settle(replace(task, result_id=event.result_id), "recorded")
        d.emit("task.recorded", task=task.id, client=task.client, round=task.base)
    elif s.staleness(task) > s.rules.async_.max_staleness:
        stale = f"trained on model {task.base}, now it is round {s.accepting}"
        d.settle(replace(task, result_id=event.result_id), "rejected", "stale", stale)
    else:
        _accept(d, task, event)


def _accept(d: Draft, task: Task, event: ev.Result) -> None:
    no = d.session.accepting
    d.put(replace(task, state="accepted", holder=event.holder, round=no, result_id=event.result_id))
    d.do(act.Keep(event))
    d.do(act.Receipt(task.id))
    d.emit("update.accepted", task=task.id, client=task.client, round=no)


def refused(d: Draft, event: ev.Refused) -> None:
    _spoil(d, event, "rejected", "update.refused")


def failed(d: Draft, event: ev.TaskFailed) -> None:
    task = d.session.tasks.get(event.task)
    _spoil(d, event, "failed", "task.failed", **({"kind": task.kind} if task is not None else {}))


def _spoil(d: Draft, event: ev.Refused | ev.TaskFailed, outcome: Outcome, told: str, **more: str) -> None:
    task = d.session.tasks.get(event.task)
    if task is None or not task.open:
        return
    d.settle(task, outcome, event.reason, event.detail)
    about = {"task": task.id, "client": task.client, "round": task.asked_round, **more}
    d.emit(told, **about, reason=event.reason, detail=event.detail)
