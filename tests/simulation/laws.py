"""What a batch must say and do: laws between two states, the events between them, and the actions that left."""

from collections.abc import Iterable, Sequence

from tests.simulation.invariants import check
from tests.simulation.strays import idle, shape

from fedk.rounds import actions as act
from fedk.rounds import events as ev
from fedk.rounds.counts import elsewhere
from fedk.rounds.states import ENDED, Session, Token

CALLED_OFF = {"late", "session-stopped", "session-failed", "cancelled"}


def of_clock(s: Session, armed: Token | None) -> None:
    """The clock that runs is the one that the state calls for."""
    r, wanted = s.round, None
    if s.status == "running" and r is not None and r.state == "open" and r.armed and not r.expired:
        wanted = r.token
    elif s.status == "running" and r is not None and r.state == "gathering" and elsewhere(s):
        wanted = r.flushing
    elif s.status == "running" and s.closing == "asked" and s.outstanding():
        wanted = s.measuring
    check(armed == wanted, f"the clock that runs is {armed}, not {wanted}: {r}")


def of_batch(before: Session, after: Session, events: Sequence[ev.Event], actions: Iterable[act.Action]) -> None:
    """All of them."""
    done = list(actions)
    _tasks(before, after, done)
    _told(before, after, done)
    _folds(before, after, events, done)
    if len(events) == 1:
        _alone(before, after, events[0], done)
        _asked(before, after, events[0], done)
        if idle(before, events[0]):
            check(not done and shape(after) == shape(before), f"{events[0]} changes {before.round}, does {done}")
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
            brought = [a.event for a in done if isinstance(a, act.Keep) and getattr(a.event, "task", "") == task.id]
            check(bool(brought), f"accepted, and nothing that was brought counts: {task}")
            own = (
                task.partial
                or getattr(brought[-1], "holder", "") == task.holder
                or isinstance(brought[-1], ev.Forwarded)
            )
            check(bool(own), f"of {task} counts what {brought[-1]} has brought")


def _folds(before: Session, after: Session, events: Sequence[ev.Event], done: Sequence[act.Action]) -> None:
    r = after.round
    for fold in [a for a in done if isinstance(a, act.Fold)]:
        named = r is not None and (r.state, r.token, r.frozen) == ("folding", fold.token, fold.tasks)
        check(named or after.head > before.head, f"{fold}, and {r}")
    if after.head > before.head and before.round is not None:
        made = any(isinstance(e, ev.Folded) and e.token == before.round.token for e in events)
        check(made, f"committed, and nobody has made it: {before.round}")
    late = [t for t in after.tasks.values() if t.end and t.end.reason == "late" and before.tasks.get(t.id) != t]
    waiting = r is not None and r.state == "open"
    check(not late or not waiting or bool(after.closing), f"late, and the round is open: {late}")


def _asked(before: Session, after: Session, event: ev.Event, done: Sequence[act.Action]) -> None:
    """Whom a batch of one event asks, and for what."""
    busy, here = {t.client for t in before.outstanding()}, before.present | before.validators
    for task in [t for t in after.tasks.values() if t.number >= before.next_task]:
        check(task.client not in busy, f"has a task, and gets another one: {task}")
        check(task.client in here, f"not here, and asked: {task}")
    for flush in [a for a in done if isinstance(a, act.Flush)]:
        wanted = [after.tasks[task] for task in flush.tasks]
        check(bool(wanted), f"{flush.holder} is asked for nothing")
        own = all((t.state, t.holder) == ("accepted", flush.holder) for t in wanted)
        check(own, f"{flush.holder} is asked for what it does not hold: {wanted}")
        check(after.status == "running" or isinstance(event, ev.Draining), f"{after.status}, and it asks {flush}")


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
    if r is not None and was is not None and r.partials - was.partials:
        check("partial.accepted" in said, "a partial is taken in silence")
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
    if before.status not in ENDED:
        _person(before, after, event)
        _answer(before, after, event, done)
        _combiner(before, after, event, done)
    match event:
        case ev.Resume() if before.status == "failed":
            check(after.status != "paused", "it does not go on")
        case ev.Present():
            s = after
            check((event.client in s.present) == event.trains, f"{event.client} trains: {event.trains}, {s.present}")
            check((event.client in s.validators) == event.validates, f"{event.client} validates: {s.validators}")
        case ev.Gone():
            check(event.client not in after.present | after.validators, f"{event.client} is gone, and present")
            left = [t for t in after.outstanding() if t.client == event.client]
            check(not left, f"{event.client} is gone, and asked: {left}")
            reasons = {after.tasks[t.id].end.reason for t in before.outstanding() if t.client == event.client}  # type: ignore[union-attr]  # as checked
            wanted = "lost" if before.status == "running" else "session-paused"
            check(reasons <= {wanted}, f"{event.client} is gone while the session is {before.status}: {reasons}")
        case _:
            pass


def _person(before: Session, s: Session, event: ev.Event) -> None:
    """Starts, pauses and ends."""
    match event:
        case ev.Pause() if before.status in ("running", "paused"):
            check((s.status, s.paused_by) == ("paused", "person"), f"a person paused it: {s.status} {s.paused_by}")
        case ev.Blocked() if before.status == "running":
            check((s.status, s.paused_by) == ("paused", "blocked"), f"blocked, and {s.status} {s.paused_by}")
            check(s.round is None or s.round.selecting is None, "blocked, and a selection is awaited")
            check(s.closing != "selecting", "blocked, and a selection is awaited")
            r = before.round
            if r is not None and (r.state != "folding" or r.token != event.fold):
                check(s.round is not None and s.round.state == r.state, f"{event}: {r} → {s.round}")
        case ev.Blocked():
            check((s.status, s.paused_by) == (before.status, before.paused_by), f"{before.status}, then {s.status}")
        case ev.Unblocked() if before.paused_by == "person":
            check(s.paused_by == "person", "what a person paused goes on by itself")
        case ev.Resume() | ev.Unblocked() if before.status == "paused":
            check(s.status != "paused", "it does not go on")
        case ev.Stop():
            check(s.status == "stopped", f"stopped, and {s.status}")
        case _:
            pass


def _answer(before: Session, s: Session, event: ev.Event, done: Sequence[act.Action]) -> None:
    """Of a client."""
    was, now = (x.tasks.get(getattr(event, "task", "")) for x in (before, s))
    if was is None or now is None:
        return
    match event:
        case ev.Refused() | ev.TaskFailed() if was.open:
            outcome = "rejected" if isinstance(event, ev.Refused) else "failed"
            check(now.end is not None and now.end.outcome == outcome, f"{event}, and {now.end}")
        case ev.Result() if not was.open:
            check(now.result_id == was.result_id, f"the first result wins: {event}")
            kind = act.Receipt if was.state == "accepted" else act.Settle
            check(kind(was.id) in done, f"no word on {event}")
        case _:
            pass


def _combiner(before: Session, s: Session, event: ev.Event, done: Sequence[act.Action]) -> None:
    match event:
        case ev.HolderLost() if before.round is not None and before.round.state == "folding":
            check(s.round == before.round, f"a fold that has begun is given up: {s.round}")
        case ev.Partial():
            _partial(before, s, event, done)
        case _:
            pass


def _partial(before: Session, after: Session, event: ev.Partial, done: Sequence[act.Action]) -> None:
    """Taken once, and only if every task in it is accepted for this round, held by the sender and in no other."""
    r = before.round
    known = r is not None and event.name in r.partials
    own = {t.id for t in before.accepted() if t.holder == event.holder and not t.partial}
    if known or (event.tasks and event.tasks <= own):
        check(act.PartialReceipt(event.holder, event.number) in done, f"{event}, and no receipt")
        inside = {t.id for t in after.tasks.values() if t.partial == event.name}
        check(known or inside == event.tasks, f"{event}, and in it are {inside}")
        return
    refolds = [a for a in done if isinstance(a, act.Refold) and a.number == event.number]
    check([set(a.without) for a in refolds] == [event.tasks - own], f"{event} of {own}, and {refolds}")
    changed = [t for t in before.tasks.values() if t.state != "settled" and after.tasks[t.id] != t]
    check(not changed, f"{event} is not taken, and changes {changed}")
