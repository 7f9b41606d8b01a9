"""Clients that only validate: asked for the metrics of each model that is due, and no round waits for them."""

from typing import Any

from kernel.tests.rounds.test_machine import Play, session

from fedk.rounds import actions as act
from fedk.rounds import events as ev
from fedk.rounds.counts import wanted
from fedk.rounds.machine import advance
from fedk.rounds.states import MEASURING_STEP, ROOT


def started(*, every: int = 1, rounds: int = 3, present: tuple[str, ...] = ("v",), **rules: Any) -> Play:
    """Two that train, a and b, and those who only validate."""
    play = Play(session("", rounds=rounds, validation={"every": every}, **rules))
    play.give(*(ev.Present(c) for c in "ab"), *(ev.Present(c, trains=False) for c in present))
    return play.give(ev.Start())


def measuring(play: Play) -> list[tuple[str, int]]:
    return [(t.client, t.base) for t in play.open() if t.kind == "validate"]


def test_each_model_is_measured_by_who_only_validates_while_the_others_train_on_it() -> None:
    play = started()
    assert measuring(play) == [("v", 0)]
    play.answer("v", "a", "b").fold()
    assert measuring(play) == [("v", 1)]
    assert {t.client for t in play.open() if t.kind == "train"} == {"a", "b"}
    play.answer("v").answer("a", "b").fold()
    assert measuring(play) == [("v", 2)]
    assert sum(isinstance(a, act.Emit) and a.type == "task.recorded" for a in play.actions) == 2


def test_no_round_waits_for_who_only_validates_and_its_answer_counts_when_it_comes() -> None:
    play = started()
    slow = play.of("v").id
    play.answer("a", "b").fold()
    assert play.state.head == 1
    assert measuring(play) == [("v", 0)], "busy, so that it is not asked for model 1"
    came = ev.Result(slow, "r", ROOT)
    play.give(came)
    assert play.ends[slow] == "recorded"
    assert act.Keep(came) in play.actions
    assert measuring(play) == [("v", 1)]


def test_all_who_measure_are_waited_for_while_a_round_folds_and_while_it_waits_for_clients() -> None:
    """No number of answers decides anything then."""
    folds = started(present=("v", "w")).answer("a", "b")
    waits = started(present=("v", "w")).give(ev.Gone("a"), ev.Gone("b"))
    for play in (folds, waits):
        assert [t.kind for t in play.open()] == ["validate", "validate"]
        assert wanted(play.state) == 2
    assert waits.state.round is not None
    assert waits.state.round.target == 0


def test_validation_every_2_models_asks_for_models_0_and_2() -> None:
    play, asked = started(every=2, rounds=4), []
    for _ in range(3):
        asked += measuring(play)
        if measuring(play):
            play.answer("v")
        play.answer("a", "b").fold()
    assert asked == [("v", 0), ("v", 2)]


def test_without_validation_nobody_is_asked_to_measure() -> None:
    assert measuring(started(every=0)) == []


def test_the_last_model_is_measured_by_all_who_can() -> None:
    play = started(rounds=1)
    play.answer("v", "a", "b").fold()
    assert measuring(play) == [("a", 1), ("b", 1), ("v", 1)]
    assert play.answer("a", "b", "v").state.status == "finished"


def test_who_only_validates_counts_for_no_target_and_trains_nothing() -> None:
    play = started(clients={"min": 3})
    assert play.open() == []
    assert play.state.present == {"a", "b"}


def test_who_joins_later_measures_the_newest_model_and_only_once() -> None:
    play = started(present=()).give(ev.Present("v", trains=False))
    assert measuring(play) == [("v", 0)]
    play.answer("v").give(ev.Present("w", trains=False))
    assert measuring(play) == [], "model 0 has been measured"


def test_a_share_of_those_who_only_validate_is_drawn_as_of_the_others() -> None:
    assert measuring(started(present=("v", "w", "x", "y"), clients={"fraction": 0.5})) == [("v", 0), ("w", 0)]
    assert measuring(started(present=("v", "w", "x", "y"), clients={"max": 2})) == [("v", 0), ("w", 0)]


def test_a_gate_that_admits_nobody_to_measure_is_asked_once_in_an_attempt() -> None:
    state, actions = advance(session("ab", validation={"every": 1}), [ev.Present("v", trains=False), ev.Start()])
    selects = [a for a in actions if isinstance(a, act.Select)]
    assert [(s.token.step, sorted(s.among)) for s in selects] == [(MEASURING_STEP, ["v"]), (0, ["a", "b"])]
    state, actions = advance(state, [ev.Selected(selects[0].token, (), frozenset("v"))])
    assert [a for a in actions if isinstance(a, act.Select | act.Offer)] == []
    assert state.round is not None
    assert not state.round.measuring


def test_a_restart_offers_the_measuring_again_and_asks_nobody_twice() -> None:
    play = started()
    before = measuring(play)
    play.give(ev.Recovered())
    assert measuring(play) == before == [("v", 0)]


def test_a_client_that_comes_back_with_other_talents_is_asked_for_those_only() -> None:
    play = started().give(ev.Present("v", validates=False), ev.Present("a", trains=False))
    assert play.state.present == {"b", "v"}
    assert play.state.validators == {"a", "b"}


def test_the_clock_does_not_start_with_a_measuring() -> None:
    play = started()
    play.give(ev.Sent(play.of("v").id))
    assert play.last(act.Arm) is None
