"""How a session starts, pauses, goes on and ends: the table's rows of a session."""

from kernel.tests.rounds.test_machine import Play, folding, session, started, token

from fedk.rounds import actions as act
from fedk.rounds import events as ev
from fedk.rounds.rules import Rules
from fedk.rounds.states import ROOT

LONGER = Rules.model_validate({"rounds": 9}).settled(minimum=1, seed=1)


def told(play: Play, kind: str) -> list[act.Emit]:
    return [a for a in play.actions if isinstance(a, act.Emit) and a.type == kind]


def test_a_session_that_has_begun_does_not_begin_again() -> None:
    play = started("ab").give(ev.Pause(), ev.Start())
    assert play.status() == "paused"


def test_only_what_has_begun_is_paused_and_only_once() -> None:
    play = Play(session("ab")).give(ev.Pause())
    assert play.status() == "pending"
    play.give(ev.Start(), ev.Pause(), ev.Pause())
    assert len(told(play, "session.paused")) == 1


def test_a_person_takes_over_what_is_blocked() -> None:
    play = started("ab").give(ev.Blocked("a plugin is missing"), ev.Pause(), ev.Unblocked())
    assert (play.status(), play.state.why) == ("paused", "paused by a person")


def test_who_left_a_paused_session_is_asked_again_in_the_same_attempt() -> None:
    play = started("abc", round={"retries": 0}).answer("a")
    play.give(ev.Pause(), ev.Gone("b"), ev.Gone("c"), ev.Present("b"), ev.Present("c"), ev.Resume())
    assert (play.asked(), play.status()) == (["b", "c"], "running")
    assert play.ends["s-2"] == "lost:session-paused"
    play.give(ev.Gone("b"), ev.Present("b"))
    why = "quorum 3 of 3 not reached: 1 updates and nobody left who could answer"
    assert why in play.give(ev.Gone("c")).state.why


def test_who_left_a_paused_session_is_asked_again_where_nobody_is_replaced() -> None:
    play = started("ab", round={"retries": 0, "replace": False})
    play.give(ev.Pause(), ev.Gone("a"), ev.Gone("b"), ev.Present("a"), ev.Present("b"), ev.Resume())
    assert play.asked() == ["a", "b"]


def test_rules_change_while_a_session_does_not_run() -> None:
    play = started("ab").give(ev.Changed(LONGER))
    assert play.state.rules.rounds == 2
    assert play.give(ev.Pause(), ev.Changed(LONGER)).state.rules.rounds == 9
    failed = started("ab").give(ev.Broken("no"), ev.Changed(LONGER))
    assert failed.state.rules.rounds == 9


def test_rules_stay_as_they_are_while_a_model_is_made_with_them() -> None:
    play = folding().give(ev.Pause(), ev.Changed(LONGER))
    assert play.state.rules.rounds == 2
    assert play.fold().give(ev.Changed(LONGER)).state.rules.rounds == 9


def test_what_cannot_go_on_fails_with_its_reason_and_gives_every_task_its_verdict() -> None:
    play = started("ab").answer("a").give(ev.Broken("the aggregator needs a key"))
    assert (play.status(), play.state.why) == ("failed", "the aggregator needs a key")
    assert set(play.ends.values()) == {"rejected:session-failed"}


def test_a_failed_session_is_not_stopped_and_hears_nothing_but_a_person() -> None:
    play = started("ab").give(ev.Broken("no"))
    play.actions.clear()
    play.give(ev.Stop(), ev.Pause(), ev.Recovered(), ev.Blocked("no"))
    assert (play.status(), play.actions) == ("failed", [])


def test_a_fold_that_has_begun_goes_on_while_something_else_is_missing() -> None:
    play = folding().give(ev.Blocked("a plugin is missing"))
    assert play.state.round is not None
    assert (play.status(), play.state.round.state) == ("paused", "folding")
    play.fold()
    assert (play.status(), play.state.head) == ("paused", 1)


def test_a_fold_that_was_blocked_is_told_so_twice_and_given_up_once() -> None:
    play = started("ab", round={"quorum": 0.5})
    play.give(ev.Result(play.of("a").id, "r", "near"), ev.Result(play.of("b").id, "r", "near"))
    assert play.state.round is not None
    play.give(ev.Blocked("no space left", play.state.round.token))
    assert play.state.round.state == "gathering"


def test_a_clock_that_never_ran_does_not_go_on() -> None:
    play = started("ab").give(ev.Result("s-1", "r", "near"), ev.Pause(), ev.Resume())
    assert play.last(act.Arm) is None


def test_a_deadline_that_passed_while_it_was_paused_does_not_run_again() -> None:
    play = started("ab", round={"quorum": 0.5})
    play.give(ev.Sent(play.of("b").id), ev.Pause()).answer("a").give(ev.Timer(token(play)))
    play.actions.clear()
    play.give(ev.Resume())
    assert play.last(act.Arm) is None
    assert isinstance(play.last(act.Fold), act.Fold)


def test_a_pause_stops_the_clock_of_a_flush_whose_last_partial_came_with_it() -> None:
    play = started("ab").answer("b").give(ev.Result("s-1", "r", "near"))
    assert play.state.round is not None
    flushing = play.state.round.flushing
    play.give(ev.Partial("near", 1, frozenset({"s-1"})), ev.Pause())
    assert play.last(act.Disarm) == act.Disarm(flushing)


def test_no_clock_runs_for_combiners_where_there_are_none() -> None:
    play = started("ab").answer("a", "b")
    assert play.last(act.Arm) is None


def test_a_restart_leaves_a_paused_session_gathering() -> None:
    play = started("ab").answer("b").give(ev.Result("s-1", "r", "near")).give(ev.Pause(), ev.Recovered())
    assert play.state.round is not None
    assert (play.status(), play.state.round.state) == ("paused", "gathering")


def test_a_session_that_goes_on_with_its_model_just_committed_has_no_clock_of_a_validation() -> None:
    play = started("abc", mode="async", **{"async": {"buffer": 2}}).answer("a", "b").give(ev.Pause())
    play.actions.clear()
    play.give(ev.Folded(token(play)), ev.Resume())
    arms = [a.token.step for a in play.actions if isinstance(a, act.Arm)]
    assert arms == []


def test_nobody_is_asked_for_sums_while_a_session_is_paused() -> None:
    play = started("ab").answer("b").give(ev.Result("s-1", "r", "near")).give(ev.Pause())
    play.actions.clear()
    play.give(ev.HolderBack("near"), ev.Partial("near", 1, frozenset({"s-1", "s-2"})))
    assert play.actions == [act.Refold("near", 1, ("s-2",))]


def test_a_result_comes_to_the_root_of_a_session_that_is_stopped_in_vain() -> None:
    play = started("ab").give(ev.Stop())
    play.actions.clear()
    play.give(ev.Result("s-1", "r", ROOT))
    assert play.actions == []
