"""What must hold after every batch, of a session's state and of a server's rows."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from fedk.rounds.batch import Batch
from fedk.rounds.counts import fewest
from fedk.rounds.states import ENDED, Session
from fedk.rounds.waiting import waiting_for

if TYPE_CHECKING:
    from fedk.rounds.inbox import Entry
    from fedk.rounds.runner import Runner
    from fedk.rounds.step import Step


class Broken(AssertionError):
    """An invariant does not hold."""


def check(holds: bool, text: str) -> None:
    if not holds:
        raise Broken(text)


def of_state(s: Session) -> None:
    """Of one state, by itself."""
    ended = s.status in ENDED
    for task in s.tasks.values():
        check((task.end is not None) == (task.state == "settled"), f"{task}: settled without a verdict, or the reverse")
        check(not ended or task.state == "settled", f"{s.status}, and open: {task}")
        check(task.state != "accepted" or task.round is not None, f"accepted into no round: {task}")
        check(task.state != "accepted" or bool(task.result_id), f"accepted without a result: {task}")
        if task.end is not None and task.end.outcome == "committed":
            check(task.round is not None and task.round <= s.head, f"committed beyond the head {s.head}: {task}")
    if s.rules.mode == "sync":
        asked = [t.client for t in s.outstanding() if not t.result_id]  # delivering again is no work
        check(len(asked) == len(set(asked)), f"a client has two open tasks: {asked}")
    r = s.round
    check(not (ended and r), f"{s.status} with an open round")
    if r is not None:
        check(r.no == s.head + 1, f"round {r.no} is open, head is {s.head}")
        accepted = {t.id for t in s.accepted()}
        check(r.state != "folding" or set(r.frozen) == accepted, f"frozen {r.frozen}, accepted {sorted(accepted)}")
        check(r.state != "folding" or bool(r.frozen), "an empty round is folded")
        others = [t for t in s.tasks.values() if t.state == "accepted" and t.round not in (r.no, r.no + 1)]
        check(not others, f"accepted into another round: {others}")
    check(s.status != "running" or bool(s.closing) or r is not None, "running without a round")
    check((s.status == "paused") == bool(s.paused_by), f"{s.status}, paused by {s.paused_by!r}")


def of_step(before: Session, after: Session) -> None:
    """Between two states: what is said is never unsaid."""
    for task in before.tasks.values():
        now = after.tasks.get(task.id)
        if task.state == "settled":
            check(now is None or now == task, f"settled, and changed: {task} → {now}")
        else:
            check(now is not None, f"forgotten: {task}")
    check(before.head <= after.head <= before.head + 1, f"head {before.head} → {after.head}")
    check(before.status not in ("finished", "stopped") or after.status == before.status, f"{before.status} went on")
    if after.head > before.head:
        r = before.round
        check(r is not None and r.state == "folding", f"committed from {r}")
        if r is not None:
            made = {t.id for t in after.tasks.values() if t.end and t.round == r.no and t.end.outcome == "committed"}
            made |= {t.id for t in after.tasks.values() if t.end and t.round == 0 and t.end.outcome == "recorded"} - {
                t.id for t in before.tasks.values() if t.kind == "validate"
            }
            check(r.no == 0 or made == set(r.frozen), f"model {r.no} has {r.frozen}, committed are {made}")


def of_waiting(s: Session, *, moving: bool, at_work: bool) -> None:
    """Some event is awaited. `moving`: events or gates are under way; `at_work`: a model is being made, or a gate is asked."""
    if s.status != "running" or moving:
        return
    if s.round is not None and s.round.state == "folding":
        check(at_work, f"round {s.round.no} is folding, and nobody folds")
    elif s.round is not None and s.round.selecting is not None:
        check(at_work, f"nobody selects: {s.round}")
    elif not s.outstanding():
        pool = s.present | {t.client for t in s.accepted()}
        check(
            len(pool) < fewest(s) or s.rules.mode == "async" or bool(s.round and s.round.armed),
            f"nothing is awaited: {s.round}, present {len(s.present)}",
        )


@contextmanager
def each_step() -> Iterator[None]:
    """Check every step of the machine inside, in all batches."""
    take = Batch._take

    def taken(batch: Batch, step: "Step", entries: "Sequence[Entry]") -> None:
        old = step.new
        take(batch, step, entries)
        of_step(old, step.new)
        of_state(step.new)

    with patch.object(Batch, "_take", taken):
        yield


def watch(runner: "Runner") -> None:
    """Check a runner after every batch from now on."""
    adopt = runner._after

    async def after(batch: Sequence[Any], steps: "Sequence[Step]", events: Sequence[Any]) -> None:
        await adopt(batch, steps, events)
        for live, new in [(step.live, step.new) for step in steps]:
            if new.status not in ENDED:
                check(bool(waiting_for(live, runner.roster)), "waits for nothing that is shown")
                moving = bool(runner.inbox._items) or bool(live.state.outstanding())
                of_waiting(new, moving=moving, at_work=bool(runner._working))

    runner._after = after  # type: ignore[method-assign]  # to look on


def of_rows(sessions: Sequence[Mapping[str, Any]], tasks: Sequence[Mapping[str, Any]]) -> None:
    """After a crash or at the end."""
    ended = {s["id"] for s in sessions if s["status"] in ENDED}
    for task in tasks:
        check(task["session"] not in ended or task["state"] == "settled", f"session over, and open: {dict(task)}")
        check((task["state"] == "settled") == (task["verdict"] is not None), f"half settled: {dict(task)}")
