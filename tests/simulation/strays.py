"""Which events are stale or illegal, and so change nothing."""

from dataclasses import replace

from fedk.rounds import events as ev
from fedk.rounds.counts import elsewhere
from fedk.rounds.states import ENDED, MEASURING_STEP, Session, Token


def shape(s: Session) -> tuple[object, ...]:
    """All but the tasks that are settled."""
    r = replace(s.round, serial=0) if s.round is not None else None
    return s.status, s.head, s.closing, s.paused_by, r, {i: t for i, t in s.tasks.items() if t.state != "settled"}


def idle(s: Session, event: ev.Event) -> bool:
    """Whether the event must change nothing."""
    if s.status in ENDED:
        return not isinstance(event, ev.Resume | ev.Present | ev.Gone | ev.Changed)
    return _pressed(s, event) or _stale(s, event) or _not_held(s, event)


def _pressed(s: Session, event: ev.Event) -> bool:
    match event:
        case ev.Start():
            return s.status != "pending"
        case ev.Pause():
            return s.status == "pending" or s.paused_by == "person"
        case ev.Resume():
            return s.status != "paused"
        case ev.Unblocked():
            return s.paused_by != "blocked"
        case _:
            return False


def _stale(s: Session, event: ev.Event) -> bool:
    """Its token is that of another opening."""
    r = s.round
    match event:
        case ev.Timer(token):
            flush = r is not None and r.state == "gathering" and token == r.flushing and bool(elsewhere(s))
            deadline = r is not None and r.state == "open" and r.armed and token == r.token
            return not flush and not deadline and not (s.closing == "asked" and token == s.measuring)
        case ev.Folded(token) | ev.FoldFailed(token):
            return r is None or r.state != "folding" or token != r.token
        case ev.Selected(token) if s.status == "running":
            return not _selecting(s, token)
        case _:
            return False


def _selecting(s: Session, token: Token) -> bool:
    if token.step == MEASURING_STEP:
        return token == s.measuring and (bool(s.round and s.round.measuring) or s.closing == "selecting")
    return s.round is not None and s.round.selecting == token


def _not_held(s: Session, event: ev.Event) -> bool:
    """It is about what the combiner does not hold."""
    match event:
        case ev.HolderLost(holder, tasks):
            held = {t.id for t in s.tasks.values() if t.state == "accepted" and t.holder == holder}
            return not (held if tasks is None else held & tasks)
        case ev.HolderBack():
            return s.status != "running" or s.round is None or s.round.state != "gathering"
        case ev.Forwarded(holder, name):
            task = s.tasks.get(name)
            return task is None or task.state != "accepted" or task.holder != holder
        case _:
            return False
