"""How rounds close, and sessions after their last model."""

from typing import Any

import pytest
from kernel.tests.rounds.test_lifecycle import told
from kernel.tests.rounds.test_machine import Play, folding, session, started, token

from fedk.rounds import actions as act
from fedk.rounds import events as ev
from fedk.rounds.machine import advance
from fedk.rounds.states import MEASURING_STEP, ROOT, Token

ASYNC: dict[str, Any] = {"mode": "async", "async": {"buffer": 2}}


def last_model(names: str = "ab") -> Play:
    """A session whose last model is committed, and is being measured."""
    return started(names, rounds=1, validation={"every": 1}).answer(*names).fold()


def test_the_measuring_of_the_last_model_has_a_deadline() -> None:
    play = last_model().answer("a")
    slow, measuring = play.of("b").id, Token(1, 0, MEASURING_STEP)
    assert play.last(act.Arm) == act.Arm(measuring, 600)
    play.give(ev.Timer(Token(1, 0)))
    assert play.status() == "running"
    play.give(ev.Timer(measuring))
    assert (play.ends[slow], play.status()) == ("rejected:late", "finished")


def test_the_clock_of_that_measuring_stops_with_the_last_answer() -> None:
    play = last_model().answer("a", "b")
    assert play.status() == "finished"
    assert play.last(act.Disarm) == act.Disarm(Token(1, 0, MEASURING_STEP))


def test_a_session_waits_for_the_draw_of_those_who_measure_its_last_model() -> None:
    play = started("ab", rounds=1, validation={"every": 1}).answer("a", "b")
    state, actions = advance(play.state, [ev.Folded(token(play))])
    assert [type(a) for a in actions][-1] is act.Select
    assert state.status == "running"
    assert advance(state, [ev.Start()])[0].status == "running"


def test_a_round_that_is_open_knows_no_deadline_of_a_validation() -> None:
    play = started("ab").give(ev.Timer(Token(0, 0, MEASURING_STEP)))
    assert play.asked() == ["a", "b"]


def test_async_the_last_model_takes_every_task_back_and_rejects_what_came_for_a_next_round() -> None:
    play = started("abcd", rounds=1, **ASYNC).answer("a", "b").answer("c")
    early, training = "s-3", play.of("d").id
    play.fold()
    assert play.ends[training] == "cancelled:cancelled"
    assert play.ends[early] == "rejected:cancelled"
    assert act.Cancel(training, "cancelled") in play.actions
    assert play.status() == "finished"


def test_async_no_client_delivers_again_for_a_round_that_will_not_be() -> None:
    play = started("abc", rounds=1, validation={"every": 1}, **ASYNC).answer("a", "b")
    play.give(ev.Result(play.of("c").id, "r", "near")).fold()
    play.actions.clear()
    play.give(ev.HolderLost("near"))
    assert play.actions == []


def test_the_first_model_is_recorded_and_ends_no_session() -> None:
    play = started("ab", head=-1).answer("a").fold(enough="it has converged")
    assert play.ends["s-1"] == "recorded"
    assert (play.status(), play.asked()) == ("running", ["a", "b"])


def test_a_round_waits_for_as_many_clients_as_it_needs_updates() -> None:
    play = started("ab", clients={"min": 2}, round={"min_updates": 3, "retries": 0})
    assert play.asked() == []
    assert play.give(ev.Present("c")).asked() == ["a", "b", "c"]


def test_async_nothing_is_committed_below_min_updates_though_the_buffer_is_full() -> None:
    play = started("abc", mode="async", round={"min_updates": 3}, **{"async": {"buffer": 2}}).answer("a", "b")
    assert play.last(act.Fold) is None
    assert isinstance(play.answer("c").last(act.Fold), act.Fold)


def test_the_first_model_needs_one_result_whatever_an_update_needs() -> None:
    play = started("abc", head=-1, clients={"min": 2}, round={"min_updates": 3}).answer("a")
    assert isinstance(play.last(act.Fold), act.Fold)


def test_a_retry_says_that_the_deadline_has_passed() -> None:
    play = started("ab")
    play.give(ev.Sent(play.of("a").id)).answer("b").give(ev.Timer(token(play)))
    why = "quorum 2 of 2 not reached: 1 updates at the deadline"
    assert [e.body for e in told(play, "round.retried")] == [{"round": 1, "attempt": 2, "why": why}]


def test_a_deadline_that_never_ran_or_is_over_closes_nothing() -> None:
    play = started("ab", round={"quorum": 0.5}).answer("a").give(ev.Timer(Token(1, 0)))
    assert play.last(act.Fold) is None
    play.give(ev.Result(play.of("b").id, "r", "near"), ev.Timer(token(play)))
    assert (play.state.round.state, play.state.round.expired) == ("gathering", False)  # type: ignore[union-attr]  # it gathers


def test_a_round_that_was_closed_by_its_deadline_and_loses_a_result_gets_no_new_time() -> None:
    play = started("abc", round={"quorum": 0.6})
    play.give(ev.Sent(play.of("a").id)).answer("b", "c").give(ev.Timer(token(play)))
    assert play.state.round is not None
    play.actions.clear()
    play.give(ev.FoldFailed(token(play), "damaged", play.state.round.frozen[:1]))
    assert play.state.round.attempt == 1


@pytest.mark.parametrize("event", [ev.Folded(Token(1, 7)), ev.FoldFailed(Token(1, 7), "boom")])
def test_what_became_of_another_fold_changes_nothing(event: ev.Event) -> None:
    play = folding()
    before = play.state
    assert play.give(event).state == before
    assert play.actions == []


def test_a_fold_that_failed_is_told_so_twice_and_ends_once() -> None:
    play = folding()
    assert play.state.round is not None
    failed = ev.FoldFailed(token(play), "damaged", play.state.round.frozen[:1])
    play.give(failed).give(ev.FoldFailed(failed.token, "boom"))
    assert play.status() == "running"


def test_a_damaged_result_starts_the_clock_when_its_client_has_the_new_task() -> None:
    play = folding()
    assert play.state.round is not None
    play.give(ev.FoldFailed(token(play), "damaged", play.state.round.frozen[:1]))
    assert play.last(act.Arm) is None


def test_with_a_draw_at_hand_a_model_is_committed_and_the_next_one_asked_for_at_once() -> None:
    play = folding()
    state, actions = advance(
        play.state, [ev.Folded(token(play))], draw=lambda asked: ev.Selected(asked.token, tuple(sorted(asked.among)))
    )
    assert (state.head, [t.client for t in state.outstanding()]) == (1, ["a", "b"])
    done = [type(a) for a in actions if not isinstance(a, act.Emit)]
    assert done == [act.Keep, act.Settle, act.Settle, act.Offer, act.Offer]


def test_async_a_round_that_nobody_answers_has_one_clock() -> None:
    play = Play(session("ab", mode="async"))
    play.state, actions = advance(play.state, [ev.Start()])
    asked = next(a for a in actions if isinstance(a, act.Select))
    play.give(ev.Selected(asked.token, (), asked.among, ("guard",)))
    assert sum(isinstance(a, act.Arm) for a in play.actions) == 1
    play.actions.clear()
    play.give(ev.Start())
    assert play.last(act.Arm) is None


def test_async_a_combiner_that_is_lost_while_a_model_is_made_takes_only_the_next_rounds_results() -> None:
    play = started("abc", **ASYNC).answer("a", "b")
    play.give(ev.Result(play.of("c").id, "r", "near"))
    round_ = play.state.round
    play.give(ev.HolderLost("near"))
    assert play.state.round == round_
    assert play.last(act.Redeliver) == act.Redeliver("s-3")
    play.give(ev.Result("s-3", "r", ROOT)).fold()
    assert play.state.head == 1
