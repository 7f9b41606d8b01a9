"""What clients answer, and the word that they get."""

from kernel.tests.rounds.test_lifecycle import told
from kernel.tests.rounds.test_machine import started

from fedk.rounds import actions as act
from fedk.rounds import events as ev
from fedk.rounds.states import ROOT


def test_a_result_that_comes_after_the_verdict_gets_the_verdict_again() -> None:
    late = started("abc", round={"quorum": 0.6})
    late.give(ev.Sent("s-3")).answer("a", "b").give(ev.Timer(late.state.round.token))  # type: ignore[union-attr]  # it is open
    assert late.ends["s-3"] == "rejected:late"
    late.actions.clear()
    late.give(ev.Result("s-3", "r", ROOT))
    assert late.actions == [act.Settle("s-3")]


def test_the_first_holder_keeps_a_result_that_another_one_reports_too() -> None:
    play = started("abc").give(ev.Result("s-1", "r", "near"))
    play.actions.clear()
    play.give(ev.Result("s-1", "r", "far"))
    assert play.state.tasks["s-1"].holder == "near"
    assert play.actions == [act.Receipt("s-1")]


def test_a_refused_result_ends_its_task_with_its_reason() -> None:
    play = started("ab").give(ev.Refused("s-1", "too-large", "9 GB"))
    assert play.ends["s-1"] == "rejected:too-large"
    assert told(play, "update.refused")[0].body == {
        "task": "s-1", "client": "a", "round": 1, "reason": "too-large", "detail": "9 GB",
    }  # fmt: skip


def test_a_failed_task_is_told_with_its_kind() -> None:
    play = started("ab").fail("a")
    assert told(play, "task.failed")[0].body["kind"] == "train"
    play.give(ev.TaskFailed("s-99", "raised"))
    assert len(told(play, "task.failed")) == 1
