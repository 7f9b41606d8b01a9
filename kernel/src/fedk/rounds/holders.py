"""The table's rows of combiners: who holds the bytes of accepted updates, and how they come to the root."""

from collections.abc import Set as AbstractSet

from fedk.rounds import actions as act
from fedk.rounds import events as ev
from fedk.rounds.copies import replace
from fedk.rounds.counts import elsewhere
from fedk.rounds.draft import Draft
from fedk.rounds.states import ROOT, Task


def flush(d: Draft, holder: str = "") -> None:
    """Ask combiners for what the gathering round lacks; all of them, or one."""
    r = d.session.round
    if d.session.status == "running" and r is not None and r.state == "gathering":
        lacking = elsewhere(d.session)
        for name in sorted({task.holder for task in lacking}):
            if holder in ("", name):
                _ask_for(d, name, [task for task in lacking if task.holder == name])


def _ask_for(d: Draft, holder: str, tasks: list[Task]) -> None:
    if tasks:
        d.do(act.Flush(holder, tuple(t.id for t in sorted(tasks, key=lambda t: t.number))))


def back(d: Draft, event: ev.HolderBack) -> None:
    flush(d, event.holder)


def draining(d: Draft, event: ev.Draining) -> None:
    _ask_for(d, event.holder, [t for t in d.session.accepted() if t.holder == event.holder])


def partial(d: Draft, event: ev.Partial) -> None:
    r = d.session.round
    if r is not None and event.name in r.partials:
        d.do(act.PartialReceipt(event.holder, event.number))
        return
    own = {t.id for t in d.session.accepted() if t.holder == event.holder}
    if r is None or not event.tasks or event.tasks - own:
        d.do(act.Refold(event.holder, event.number, tuple(sorted(event.tasks - own))))
        flush(d, event.holder)
        return
    for task in event.tasks:
        d.put(replace(d.session.tasks[task], holder=ROOT, partial=event.name))
    d.set_round(partials=r.partials | {event.name})
    d.do(act.PartialReceipt(event.holder, event.number))
    d.emit("partial.accepted", round=r.no, combiner=event.holder, updates=len(event.tasks))


def forwarded(d: Draft, event: ev.Forwarded) -> None:
    task = d.session.tasks.get(event.task)
    if task is not None and task.state == "accepted" and task.holder == event.holder:
        d.put(replace(task, holder=ROOT))
        d.do(act.Keep(event))


def lost(d: Draft, event: ev.HolderLost) -> None:
    held = {t.id for t in d.session.tasks.values() if t.state == "accepted" and t.holder == event.holder}
    lose(d, held if event.tasks is None else held & event.tasks)


def lose(d: Draft, tasks: AbstractSet[str]) -> None:
    """Their bytes are gone; their clients still have them."""
    r = d.session.round
    if not tasks:
        return
    if r is not None and r.state == "gathering":
        d.clock(act.Disarm)
    for task in [d.session.tasks[task] for task in sorted(tasks)]:
        if task.client in d.session.present:
            d.put(replace(task, state="sent", holder="", round=None))
            d.do(act.Redeliver(task.id))
        else:
            d.settle(task, "rejected", "holder-lost")
    if r is not None and r.state != "folding":
        d.reopen(r)
