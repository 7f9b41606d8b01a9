"""The machine of a session: pure. No clock, no I/O, no asyncio; time is an event.

`advance(state, events) -> (state, actions)`: one batch of events is one transaction; the actions leave after it.
With `draw`, which answers each Select at once, a model is committed and the next one asked for in one transaction.
The table that it follows stands in docs/design.md.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fedk.rounds import actions as act
from fedk.rounds import arrivals, asking, closing, holders, lifecycle
from fedk.rounds import events as ev
from fedk.rounds.counts import elsewhere, quorum, target
from fedk.rounds.draft import Draft
from fedk.rounds.states import ENDED, Round, Session


def advance(
    state: Session, events: Iterable[ev.Event], *, draw: Callable[[act.Select], ev.Selected] | None = None
) -> tuple[Session, list[act.Action]]:
    """The state after `events`, and what to do about them. Stale and illegal events change nothing."""
    draft, coming = Draft(state), list(events)
    while coming:
        for event in coming:
            _take(draft, event)
        while _judge(draft):
            pass
        coming = [draw(asked) for asked in draft.asked()] if draw is not None else []
    return draft.session, draft.actions


def _take(d: Draft, event: ev.Event) -> None:
    """Apply one event; judging comes after the whole batch."""
    if d.session.status in ENDED and not isinstance(event, ev.Resume | ev.Present | ev.Gone | ev.Changed):
        return
    ROWS[type(event)](d, event)


def _timer(d: Draft, event: ev.Timer) -> None:
    s, r = d.session, d.session.round
    if event.token == s.measuring and s.closing == "asked":
        d.late(s.outstanding())
    elif r is not None and r.state == "gathering" and event.token == r.flushing:
        holders.lose(d, {task.id for task in elsewhere(s)})
    elif r is not None and r.state == "open" and r.armed and event.token == r.token:
        d.set_round(expired=True)


def _recovered(d: Draft, _: ev.Recovered) -> None:
    """Every pending action is derived again."""
    asking.deselect(d)
    for task in d.session.outstanding():
        d.do(act.Offer(task.id))
    r = d.session.round
    if d.session.status != "running":
        if r is not None and r.state == "folding":
            d.reopen(r)  # going on begins another fold
        return
    holders.flush(d)
    d.clock(act.Arm)
    if r is not None and r.state == "folding":
        closing.fold(d, r.token, r.frozen)


ROWS: Mapping[type[ev.Event], Callable[[Draft, Any], None]] = {
    ev.Start: lifecycle.start,
    ev.Pause: lifecycle.pause,
    ev.Resume: lifecycle.resume,
    ev.Stop: lifecycle.stop,
    ev.Blocked: lifecycle.blocked,
    ev.Unblocked: lifecycle.unblocked,
    ev.Broken: lifecycle.broken,
    ev.Changed: lifecycle.changed,
    ev.Present: asking.present,
    ev.Gone: asking.gone,
    ev.Selected: asking.selected,
    ev.Sent: asking.sent,
    ev.Result: arrivals.result,
    ev.Refused: arrivals.refused,
    ev.TaskFailed: arrivals.failed,
    ev.HolderLost: holders.lost,
    ev.HolderBack: holders.back,
    ev.Draining: holders.draining,
    ev.Partial: holders.partial,
    ev.Forwarded: holders.forwarded,
    ev.Folded: closing.folded,
    ev.FoldFailed: closing.fold_failed,
    ev.Timer: _timer,
    ev.Recovered: _recovered,
}
"""What each event does."""


# ---- judging ----


def _judge(d: Draft) -> bool:
    """Do the next thing that the state calls for; False when there is none."""
    s = d.session
    if s.status != "running":
        return False
    if s.closing:
        return closing.finish(d)
    if s.round is None:
        d.set(round=Round(s.head + 1, first_task=s.next_task))
        return True
    if s.round.state == "open":
        return _judge_open(d, s.round)
    if s.round.state == "gathering":
        return closing.gathered(d, s.round)
    return False


def _judge_open(d: Draft, r: Round) -> bool:
    s = d.session
    if r.target == 0:
        return _aim(d, r)
    if asking.measure(d, r):
        return True
    count, still = len(s.accepted()), s.making()
    if count >= r.target and count >= quorum(s):
        return closing.gather(d)
    if not r.expired and asking.select(d, r, count, len(still)):
        return True
    if not r.expired and (still or r.selecting is not None):
        return False
    if not r.expired and s.rules.mode == "async":
        if not r.armed:
            d.arm()  # nobody is asked: whom it may ask is looked at again at the deadline
        return False
    return closing.gather(d) if count >= quorum(s) else closing.retry(d, r, count)


def _aim(d: Draft, r: Round) -> bool:
    """Set the target of an attempt, once enough clients are present."""
    aim = target(d.session)
    if aim == 0:
        return False
    d.set_round(target=aim)
    if r.attempt == 0:
        d.emit("round.open", round=r.no, attempt=1, target=aim)
    elif not r.armed and any(t.state == "sent" for t in d.session.making()):
        d.arm()
    return True
