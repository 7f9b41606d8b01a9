"""How many updates a round wants and needs, and whom it may still ask. Pure: the definitions above the machine's table."""

from math import ceil

from fedk.rounds.states import ROOT, Session, Task


def target(s: Session) -> int:
    """How many updates the open round aims at; 0 while too few clients are present."""
    rules, r = s.rules, s.round
    if r is not None and r.no == 0:
        return 1 if s.present else 0
    if rules.mode == "async":
        return rules.async_.buffer if len(s.present) >= fewest(s) else 0
    pool = s.present | {t.client for t in s.accepted()}
    if len(pool) < fewest(s):
        return 0
    wanted = round(rules.clients.fraction * len(pool - spoiled(s)))
    if rules.clients.max is not None:
        wanted = min(rules.clients.max, wanted)
    return max(fewest(s), wanted)


def fewest(s: Session) -> int:
    """`clients.min`, settled."""
    return s.rules.clients.min or 1


def quorum(s: Session) -> int:
    """Fewest updates that the open round may commit."""
    if s.round is None or s.round.no == 0:
        return 1
    share = ceil(s.rules.round.quorum * s.round.target - 1e-9)  # 0.7 × 10 is 7.000000000000001
    return max(s.rules.round.min_updates or 1, share)


def wanted(s: Session) -> int:
    """Answers after which something may be decided: all that are awaited, or those that the open round still aims at."""
    awaited = len(s.outstanding())
    if s.round is None or s.round.state != "open" or s.round.target == 0:
        return awaited
    return min(awaited, max(1, s.round.target - len(s.accepted())))


def opening(s: Session) -> list[Task]:
    """The tasks of the open round since it was opened."""
    r = s.round
    return [t for t in s.tasks.values() if r and t.asked_round == r.no and t.number >= r.first_task]


def spoiled(s: Session) -> frozenset[str]:
    """F: clients whose tasks in this round failed or were refused too often to ask them again."""
    often: dict[str, int] = {}
    for t in opening(s):
        if t.spoiled:
            often[t.client] = often.get(t.client, 0) + 1
    most = max(1, min(2, s.rules.round.retries))
    return frozenset(c for c, n in often.items() if n >= most) - {t.client for t in s.accepted()}


def drawn(s: Session) -> bool:
    """Whether this attempt has had its first selection."""
    return bool(_attempted(s))


def _attempted(s: Session) -> list[Task]:
    return [t for t in opening(s) if s.round and t.attempt == s.round.attempt and not t.excused]


def free(s: Session) -> frozenset[str]:
    """Clients that could still be asked in this attempt."""
    r = s.round
    if r is None or (not s.rules.round.replace and s.rules.mode == "sync" and drawn(s)):
        return frozenset()
    busy = {t.client for t in s.outstanding()}
    if s.rules.mode == "async" and r.no > 0:
        return s.present - busy - spoiled(s) - r.vetoed
    asked = {t.client for t in _attempted(s)} | {t.client for t in s.accepted()}
    return s.present - asked - busy - spoiled(s) - r.vetoed


def elsewhere(s: Session) -> list[Task]:
    """A without what is here: the bytes of these are at combiners."""
    return [task for task in s.accepted() if task.holder != ROOT]


def due(s: Session, no: int) -> bool:
    """Whether model `no` is to be validated."""
    every = s.rules.validation.every
    return every > 0 and no % every == 0


def measurers(s: Session) -> frozenset[str]:
    """Who only validates, and is to measure the newest model while the next one is made: until some have been asked."""
    r = s.round
    if (
        r is None
        or r.no == 0
        or not due(s, s.head)
        or any(t.kind == "validate" and t.base == s.head for t in s.tasks.values())
    ):
        return frozenset()
    return s.validators - s.present - {t.client for t in s.outstanding()} - r.vetoed
