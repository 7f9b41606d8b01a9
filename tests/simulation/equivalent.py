"""Mutants that change nothing that matters, and why, by their names."""

_TYPES = "it is only asked while a round is open; the guard is the type checker's"
_SETTLED = "the rules of a session are settled: it is never empty"

EQUIVALENT: dict[str, str] = {
    "draft.Draft.put: if self._tasks is None: always": "the tasks are copied for each change, not for the first alone",
    "holders.partial: r is None or not event.tasks or event.tasks - own: without r is None": (
        "without a round nothing is accepted for it, so that no task is the sender's own"
    ),
    "counts.target: r is not None and r.no == 0: without r is not None": _TYPES,
    "counts.fewest: s.rules.clients.min or 1: without 1": _SETTLED,
    "counts.quorum: s.round is None or s.round.no == 0: without s.round is None": _TYPES,
    "counts.quorum: s.rules.round.min_updates or 1: without 1": _SETTLED,
    "counts.opening: r and t.asked_round == r.no and (t.number >= r.first_task): without r": _TYPES,
    "counts.opening: r and t.asked_round == r.no and (t.number >= r.first_task): without t.number >= r.first_task": (
        "settled tasks of an earlier opening are dropped when the batch begins, and none of them is open"
    ),
    "counts._attempted: s.round and t.attempt == s.round.attempt and (not t.excused): without s.round": _TYPES,
    "counts.free: r is None or (not s.rules.round.replace and s.rules.mode == 'sync' and drawn(s)): without r is None": (
        _TYPES
    ),
    "counts.measurers: r is None or r.no == 0 or (not due(s, s.head)) or any((t.kind == 'validate' and t.base == s.head"
    " for t in s.tasks.values())): without r is None": _TYPES,
}
