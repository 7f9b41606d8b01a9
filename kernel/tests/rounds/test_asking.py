"""Whom a session asks: selections, gates, and clients that come and go between."""

from typing import Any

from kernel.tests.rounds.test_lifecycle import told
from kernel.tests.rounds.test_machine import Play, session, started

from fedk.rounds import actions as act
from fedk.rounds import events as ev
from fedk.rounds.machine import advance
from fedk.rounds.states import MEASURING_STEP, ROOT, Session, Token


def asked_by(state: Session, *events: ev.Event) -> tuple[Session, list[act.Select]]:
    """What `events` make of a session, and the selections that nobody has answered."""
    new, actions = advance(state, events)
    return new, [a for a in actions if isinstance(a, act.Select)]


def waiting(names: str = "abc", **rules: Any) -> tuple[Session, act.Select]:
    """A session that has asked for its first selection."""
    state, (select,) = asked_by(session(names, **rules), ev.Start())
    return state, select


def clients(state: Session) -> list[str]:
    return sorted(t.client for t in state.outstanding())


def test_one_client_is_asked_for_the_first_model_whatever_is_asked_on_top() -> None:
    assert started("abc", head=-1, round={"over_select": 2.0}).asked() == ["a"]
    assert started("abc", head=-1, mode="async").asked() == ["a"]


def test_async_who_failed_to_give_the_first_model_is_not_asked_for_it_again() -> None:
    assert started("ab", head=-1, mode="async").fail("a").asked() == ["b"]


def test_the_first_model_is_waited_for_while_nobody_is_there() -> None:
    play = Play(session("", head=-1)).give(ev.Start())
    assert told(play, "round.open") == []
    assert play.give(ev.Present("a")).asked() == ["a"]


def test_at_most_clients_max_are_asked() -> None:
    assert started("abcde", clients={"max": 3}).asked() == ["a", "b", "c"]


def test_async_waits_for_clients_min() -> None:
    play = started("a", mode="async", clients={"min": 2})
    assert play.asked() == []
    assert play.give(ev.Present("b")).asked() == ["a", "b"]


def test_who_is_gone_when_the_draw_comes_is_not_asked() -> None:
    state, select = waiting()
    state, _ = asked_by(state, ev.Gone("b"), ev.Selected(select.token, ("a", "b")))
    assert clients(state) == ["a"]


def test_who_has_a_task_when_the_draw_comes_gets_no_other() -> None:
    state, select = waiting("ab", mode="async", **{"async": {"buffer": 3}})
    state, _ = asked_by(state, ev.Selected(select.token, ("a", "b")))
    state, (select,) = asked_by(state, ev.Result("s-1", "r", "near"))
    state, _ = asked_by(state, ev.HolderLost("near"))
    state, _ = asked_by(state, ev.Selected(select.token, ("a",)))
    assert clients(state) == ["a", "b"]


def test_a_draw_for_another_selection_asks_nobody() -> None:
    state, select = waiting()
    state, _ = asked_by(state, ev.Selected(Token(1, 0, 0, select.token.serial + 1), ("a",)))
    assert clients(state) == []


def test_where_a_draw_names_nobody_they_are_not_drawn_again_in_this_attempt() -> None:
    state, select = waiting(clients={"min": 1}, round={"retries": 1})
    state, again = asked_by(state, ev.Selected(select.token, ()))
    assert [(s.token.attempt, s.among) for s in again] == [(1, select.among)]


def test_whom_a_gate_does_not_admit_is_told_with_its_name() -> None:
    state, select = waiting()
    _, actions = advance(state, [ev.Selected(select.token, ("a", "b"), frozenset({"c"}), ("guard",))])
    vetoed = act.Emit("clients.vetoed", {"round": 1, "clients": ["c"], "plugins": ["guard"]})
    assert [a for a in actions if isinstance(a, act.Emit)] == [vetoed]
    _, actions = advance(state, [ev.Selected(select.token, ("a", "b"))])
    assert [a for a in actions if isinstance(a, act.Emit)] == []


def test_a_replacement_is_told_and_a_first_task_is_not() -> None:
    play = started("abc", clients={"fraction": 0.67})
    assert told(play, "task.replaced") == []
    play.give(ev.Gone("a"))
    assert [e.body["client"] for e in told(play, "task.replaced")] == ["c"]


def test_async_a_task_that_is_sent_while_combiners_are_asked_starts_no_clock() -> None:
    play = started("abc", mode="async", **{"async": {"buffer": 2}})
    late = play.of("c").id
    play.give(ev.Result(play.of("a").id, "r", "near")).answer("b")
    play.actions.clear()
    play.give(ev.Sent(late))
    assert (play.state.round.armed, play.last(act.Arm)) == (False, None)  # type: ignore[union-attr]  # it gathers


def test_the_deadline_runs_from_the_first_task_that_is_sent_and_no_later_one_begins_it_anew() -> None:
    play = started("ab").fail("a").fail("b")
    assert play.last(act.Arm) is None, "a second attempt whose tasks nobody has yet"
    play.give(ev.Sent(play.of("a").id))
    assert isinstance(play.last(act.Arm), act.Arm)
    play.actions.clear()
    play.give(ev.Sent(play.of("b").id))
    assert play.last(act.Arm) is None


def test_a_measurer_that_is_gone_or_busy_when_the_draw_comes_is_not_asked() -> None:
    trains = (ev.Present("a"), ev.Present("b"))
    measures = [ev.Present(c, trains=False) for c in "uvw"]
    start = session("", clients={"min": 2}, round={"over_select": 2.0}, validation={"every": 1})
    state, selects = asked_by(start, *trains, *measures, ev.Start())
    measuring, training = sorted(selects, key=lambda s: s.token.step, reverse=True)
    assert (measuring.among, training.among) == (frozenset("uvw"), frozenset("ab"))
    state, _ = asked_by(state, ev.Gone("w"), ev.Selected(measuring.token, ("w",)))
    assert clients(state) == []


def test_a_draw_of_measurers_for_another_model_or_a_second_one_asks_nobody() -> None:
    start = session("", validation={"every": 1})
    events = (ev.Present("a"), ev.Present("b"), ev.Present("v", trains=False), ev.Present("w", trains=False))
    state, selects = asked_by(start, *events, ev.Start())
    token = next(s.token for s in selects if s.token.step == MEASURING_STEP)
    assert clients(asked_by(state, ev.Selected(Token(7, 0, MEASURING_STEP), ("v",)))[0]) == []
    state, _ = asked_by(state, ev.Selected(token, ("v",)))
    assert clients(asked_by(state, ev.Selected(token, ("w",)))[0]) == ["v"]


def test_measurers_that_no_draw_names_are_not_drawn_again_and_those_that_it_names_may_train_later() -> None:
    start = session("", validation={"every": 1}, clients={"min": 2, "fraction": 1.0})
    events = (ev.Present("a"), ev.Present("b"), ev.Present("v", trains=False))
    state, selects = asked_by(start, *events, ev.Start())
    token = next(s.token for s in selects if s.token.step == MEASURING_STEP)
    assert asked_by(state, ev.Selected(token, ()))[1] == []
    train = next(s.token for s in selects if s.token.step != MEASURING_STEP)
    state, _ = asked_by(state, ev.Selected(token, ("v",)), ev.Selected(train, ("a", "b")))
    state, again = asked_by(state, ev.Result("s-1", "r", ROOT), ev.Present("v"), ev.Gone("a"))
    assert [s.among for s in again] == [frozenset("v")]


def test_a_client_that_only_ever_lost_its_tasks_is_asked_again() -> None:
    play = started("ab", round={"retries": 1}).answer("b").give(ev.Gone("a"), ev.Present("a"))
    assert play.asked() == ["a"]


def test_a_client_that_sent_what_intake_refuses_is_left_out_like_one_that_fails() -> None:
    play = started("abc").answer("b", "c")
    for _ in range(2):
        play.give(ev.Refused(play.of("a").id, "non-finite", "w is nan"))
    assert set(play.ends.values()) == {"rejected:non-finite"}
    assert [e.body["reason"] for e in told(play, "update.refused")] == ["non-finite"] * 2
    assert isinstance(play.last(act.Fold), act.Fold)


def test_a_measurement_that_fails_is_not_held_against_who_trains() -> None:
    play = Play(session("", validation={"every": 1}, round={"retries": 0}, clients={"min": 2}))
    play.give(ev.Present("a"), ev.Present("b"), ev.Present("v", trains=False), ev.Start()).fail("v")
    play.give(ev.Present("v"), ev.Gone("b"))
    assert [(t.client, t.kind) for t in play.open()] == [("a", "train"), ("v", "train")]


def test_who_trains_when_the_draw_of_measurers_comes_is_not_asked_to_measure() -> None:
    start = session("", clients={"min": 2}, round={"over_select": 2.0}, validation={"every": 1})
    events = (ev.Present("a"), ev.Present("b"), ev.Present("v", trains=False))
    state, selects = asked_by(start, *events, ev.Start())
    measuring, training = sorted(selects, key=lambda s: s.token.step, reverse=True)
    state, _ = asked_by(state, ev.Present("v"), ev.Selected(training.token, ("a", "b", "v")))
    state, _ = asked_by(state, ev.Selected(measuring.token, ("v",)))
    assert [t.kind for t in state.outstanding()] == ["train"] * 3


def test_nobody_measures_a_model_before_there_is_one() -> None:
    play = Play(session("", head=-1, validation={"every": 1}))
    assert play.give(ev.Present("v", trains=False), ev.Present("a"), ev.Start()).asked() == ["a"]
