"""Each row of the machine's tables in docs/design.md has a mutant, made of its source, and somebody who catches it."""

import re

import pytest
from tests.simulation.equivalent import EQUIVALENT
from tests.simulation.mutants import ALL, ROOT, caught, caught_by_schedule, named
from tests.simulation.schedule import Schedule

ROWS = {
    "Session: pending, Start": "lifecycle.start: without d.set(status='running')",
    "Session: running, Pause, Blocked": "lifecycle._pause: without d.clock(act.Disarm)",
    "Session: paused, Pause": "lifecycle.pause: without _pause(d, 'person', 'paused by a person')",
    "Session: paused, Resume, Unblocked": "lifecycle._go_on: without d.clock(act.Arm)",
    "Session: paused, failed, Changed": "lifecycle.changed: without d.set(rules=event.rules)",
    "Session: failed, Resume": "lifecycle.resume: without d.set(status='running', why='', round=None)",
    "Session: pending, running, paused, Stop": "lifecycle.end: without d.give_up('rejected', reason)",
    "Session: running, head = rounds, or `stop_when`": "closing.folded: without d.give_up('cancelled', 'cancelled')",
    "Session: running, the last model is measured, or its deadline has passed": (
        "machine._timer: without d.late(s.outstanding())"
    ),
    "Session: running, attempts spent, FoldFailed, Broken": (
        "closing.fold_failed: without end(d, 'failed', event.why, 'session-failed')"
    ),
    "Session: any, Recovered": "machine._recovered: without d.do(act.Offer(task.id))",
    "Round, open: Present": "asking.present: without d.set(present=s.present | one if event.trains else s.present - one)",
    "Round, open: Selected": (
        "asking.selected: client in d.session.present and client not in busy: without client in d.session.present"
    ),
    "Round, open: Selected, of those who only validate": "asking._measurers: without _ask_validators(d, event.clients)",
    "Round, open: Sent, the first": "asking.sent: without d.arm()",
    "Round, open: Timer, the deadline": "machine._timer: without d.set_round(expired=True)",
    "Round, open: Gone": "asking.gone: without d.settle(task, 'lost', reason)",
    "Round, open: TaskFailed, Refused": "counts.spoiled: if t.spoiled: never",
    "Round, open: Result, its task open": "arrivals._accept: without d.do(act.Receipt(task.id))",
    "Round, open: Result, its task accepted": "arrivals.result: without d.do(act.Receipt(task.id))",
    "Round, open: Result, its task settled": "arrivals.result: without d.do(act.Settle(task.id))",
    "Round, open: Result, of a task that measures": "arrivals.result: if task.kind == 'validate': never",
    "Round, open: HolderLost": "holders.lose: without d.do(act.Redeliver(task.id))",
    "Round, open: Draining": "holders.draining: of d.session.accepted(): also unless t.holder == event.holder",
    "Round, open: judged: |A| ≥ target": "closing.gather: without d.late(d.session.making())",
    "Round, open: judged: ended and |A| ≥ quorum": "machine._judge_open: if count >= quorum(s): never",
    "Round, open: judged: ended and |A| < quorum, attempts left": "closing.retry: without d.clock(act.Disarm)",
    "Round, open: judged: ended and |A| < quorum, none left": (
        "closing.retry: if r.attempt >= d.session.rules.round.retries: never"
    ),
    "Round, gathering and folding: gathering, entered": "closing.gather: without flush(d)",
    "Round, gathering and folding: gathering, HolderBack": "holders.back: without flush(d, event.holder)",
    "Round, gathering and folding: gathering, Partial: all its tasks accepted for this round and held by its sender": (
        "holders.partial: without d.put(replace(d.session.tasks[task], holder=ROOT, partial=event.name))"
    ),
    "Round, gathering and folding: gathering, Partial: some are not, or it has none": (
        "holders.partial: r is None or not event.tasks or event.tasks - own: without event.tasks - own"
    ),
    "Round, gathering and folding: gathering, Partial: its number has been taken": (
        "holders.partial: if r is not None and event.name in r.partials: never"
    ),
    "Round, gathering and folding: gathering, Forwarded, by the holder": (
        "holders.forwarded: task is not None and task.state == 'accepted' and (task.holder == event.holder): "
        "without task.holder == event.holder"
    ),
    "Round, gathering and folding: gathering, HolderLost, or the flush's time is over": (
        "holders.lose: if not tasks: never"
    ),
    "Round, gathering and folding: gathering, the root holds all of A": "closing.gathered: if elsewhere(d.session): never",
    "Round, gathering and folding: folding, Folded: the model's bytes are durable": (
        "closing.folded: r is None or r.state != 'folding' or event.token != r.token: without event.token != r.token"
    ),
    "Round, gathering and folding: folding, Stop": (
        "lifecycle.stop: without end(d, 'stopped', 'stopped by a person', 'session-stopped')"
    ),
    "Round, gathering and folding: folding, HolderLost": (
        "holders.lose: r is not None and r.state != 'folding': without r.state != 'folding'"
    ),
    "Round, gathering and folding: folding, Blocked, by this fold": "lifecycle.blocked: without d.reopen(r)",
    "Round, gathering and folding: folding, FoldFailed, a result's bytes are damaged": (
        "closing.fold_failed: task.id in event.damaged or task.partial in sums: without task.partial in sums"
    ),
    "Round, gathering and folding: folding, FoldFailed, the formula": "closing.fold_failed: if not event.damaged: never",
}
"""By the table and what stands left of what follows: one mutant a row. All others: `python -m tests.simulation.mutants`."""

OVERLAP = (
    "holders.partial: r is None or not event.tasks or event.tasks - own: without event.tasks - own",  # any of it
    "states.Session.accepted: t.state == 'accepted' and t.round == no: without t.round == no",  # of this round
    "holders.partial: of d.session.accepted(): also unless t.holder == event.holder",  # held by the sender
    "holders.partial: without d.put(replace(d.session.tasks[task], holder=ROOT, partial=event.name))",  # in no other
)


def written() -> list[str]:
    """The rows of the tables, as docs/design.md has them."""
    machine = (ROOT / "docs" / "design.md").read_text().partition("\n## The machine\n")[2].partition("\n## ")[0]
    rows = []
    for title, table in re.findall(r"^((?:Session|Round)[^\n.]*)\.?[^\n]*\n\n((?:\|[^\n]*\n)+)", machine, re.MULTILINE):
        for line in table.splitlines()[2:]:
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            rows.append(f"{title}: {', '.join(cells[: max(1, len(cells) - 2)])}")
    return rows


def test_every_row_that_is_written_has_a_mutant_and_every_mutant_a_row() -> None:
    assert sorted(written()) == sorted(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_without_what_a_row_says_somebody_complains(row: str) -> None:
    by = caught(named(ROWS[row]))
    assert by, f"{ROWS[row]} is not missed"


def test_mutants_have_names_of_their_own_and_those_called_equivalent_exist() -> None:
    names = {mutant.name for mutant in ALL}
    assert len(names) == len(ALL)
    assert EQUIVALENT.keys() <= names
    assert not EQUIVALENT.keys() & set(ROWS.values())


@pytest.mark.parametrize("name", OVERLAP)
def test_schedules_miss_each_part_of_the_check_that_a_partial_overlaps_nothing(name: str) -> None:
    """A sum of what is not accepted for this round, not its sender's, or in another sum would count an update twice."""
    mutant = named(name)
    seed, why = caught_by_schedule(mutant, range(4_000))
    print(f"Schedule({seed}).play(): {why}")  # noqa: T201  # the seed that plays it again
    assert caught_by_schedule(mutant, [seed]) == (seed, why), "it plays again exactly"
    Schedule(seed).play()
