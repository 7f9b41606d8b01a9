"""What a batch must say and do: laws between two states, the events between them, and the actions that left."""

from collections.abc import Iterable, Sequence

from tests.simulation.invariants import check

from fedk.rounds import actions as act
from fedk.rounds import events as ev
from fedk.rounds.states import ENDED, FINAL, Session

CALLED_OFF = {"late", "session-stopped", "session-failed", "cancelled"}


def of_batch(before: Session, after: Session, events: Sequence[ev.Event], actions: Iterable[act.Action]) -> None:
    """All of them."""
    done = list(actions)
    _tasks(before, after, done)
    _told(before, after, done)
    if len(events) == 1:
        _alone(before, after, events[0], done)
    if before.status == after.status == "paused":
        asked = [a for a in done if isinstance(a, act.Select | act.Fold | act.Arm | act.Offer)]
        if not any(isinstance(e, ev.Resume | ev.Unblocked | ev.Recovered) for e in events):
            check(not asked, f"paused, and it goes on: {asked}")


def _tasks(before: Session, after: Session, done: Sequence[act.Action]) -> None:
    for task in after.tasks.values():
        was = before.tasks.get(task.id)
        if was is None:
            check(act.Offer(task.id) in done, f"asked, and not offered: {task}")
        elif was.state != "settled" and task.end is not None:
            check(act.Settle(task.id) in done, f"settled, and not told: {task}")
            off = was.open and task.end.reason in CALLED_OFF and not task.result_id
            called = any(isinstance(a, act.Cancel) and a.task == task.id for a in done)
            check(not off or called, f"called off, and still at work: {task}")
        if task.state == "accepted" and (was is None or was.state != "accepted"):
            check(act.Receipt(task.id) in done, f"accepted without a receipt: {task}")


def _told(before: Session, after: Session, done: Sequence[act.Action]) -> None:
    """What people are told."""
    said = [a.type for a in done if isinstance(a, act.Emit)]
    about = {(a.type, a.body.get("task")) for a in done if isinstance(a, act.Emit)}
    if after.status not in (before.status, "pending"):
        check(f"session.{after.status}" in said, f"{before.status} → {after.status}, and nobody is told")
    if after.head > before.head:
        check("round.committed" in said, "committed in silence")
    r, was = after.round, before.round
    another = r is not None and (was is None or (was.no, was.first_task) != (r.no, r.first_task) or was.target == 0)
    if r is not None and another and r.target and r.attempt == 0:
        check("round.open" in said, f"opened in silence: {r}")
    if (
        r is not None
        and was is not None
        and (r.no, r.first_task) == (was.no, was.first_task)
        and r.attempt > was.attempt
    ):
        check("round.retried" in said, f"retried in silence: {r}")
    for task in after.tasks.values():
        old = before.tasks.get(task.id)
        if old is None or old.state == "settled":
            continue
        if task.state == "accepted" and old.open:
            check(("update.accepted", task.id) in about, f"accepted in silence: {task}")
        words = {"failed": "task.failed", "lost": "task.lost"}
        if task.end is not None and task.end.outcome in words:
            check((words[task.end.outcome], task.id) in about, f"ended in silence: {task}")


def _alone(before: Session, after: Session, event: ev.Event, done: Sequence[act.Action]) -> None:
    """One event in a batch: the row of the table."""
    over, s = before.status in ENDED, after
    match event:
        case ev.Pause() if before.status in ("running", "paused"):
            check((s.status, s.paused_by) == ("paused", "person"), f"a person paused it: {s.status} {s.paused_by}")
        case ev.Blocked() if before.status == "running":
            check((s.status, s.paused_by) == ("paused", "blocked"), f"blocked, and {s.status} {s.paused_by}")
            check(s.round is None or s.round.selecting is None, "blocked, and a selection is awaited")
            check(s.closing != "selecting", "blocked, and a selection is awaited")
        case ev.Blocked():
            check((s.status, s.paused_by) == (before.status, before.paused_by), f"{before.status}, then {s.status}")
        case ev.Unblocked() if before.paused_by != "blocked":
            check(s.status == before.status or s.status != "paused", f"unblocked: {before.status} → {s.status}")
            check(before.paused_by != "person" or s.paused_by == "person", "what a person paused goes on by itself")
        case ev.Resume() | ev.Unblocked() if before.status in ("paused", "failed"):
            check(s.status != "paused", "it does not go on")
            check(
                isinstance(event, ev.Unblocked) or before.status != "failed" or s.status != "failed" or bool(done),
                "it does not go on",
            )
        case ev.Stop() if not over:
            check(s.status == "stopped", f"stopped, and {s.status}")
        case ev.Present():
            check((event.client in s.present) == event.trains, f"{event.client} trains: {event.trains}, {s.present}")
            check((event.client in s.validators) == event.validates, f"{event.client} validates: {s.validators}")
        case ev.Gone():
            check(event.client not in s.present | s.validators, f"{event.client} is gone, and present")
            left = [t for t in s.outstanding() if t.client == event.client]
            check(over or not left, f"{event.client} is gone, and asked: {left}")
        case ev.Start() if before.status in FINAL | {"failed", "paused", "running"}:
            check(s.status == before.status or s.status in ENDED, f"begun twice: {before.status} → {s.status}")
        case _:
            pass
