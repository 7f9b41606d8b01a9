"""The machine with combiners: who holds the bytes of accepted updates, and how they come to the root."""

from kernel.tests.rounds.test_machine import Play, started

from fedk.rounds import actions as act
from fedk.rounds import events as ev
from fedk.rounds.states import ROOT

FOUR = "abcd"
RULES = {"clients": {"min": 4}, "round": {"deadline": 60}}


def held(*holders: str) -> Play:
    """A round of four clients whose updates these hold: a, b, c, d."""
    play = started(FOUR, **RULES)
    play.give(*(ev.Sent(task.id) for task in play.open()))
    return play.give(*(ev.Result(play.of(c).id, "r", h) for c, h in zip(FOUR, holders, strict=True)))


def flushes(play: Play) -> dict[str, tuple[str, ...]]:
    return {a.holder: a.tasks for a in play.actions if isinstance(a, act.Flush)}


def of(play: Play, *clients: str) -> frozenset[str]:
    return frozenset(t.id for t in play.state.tasks.values() if t.client in clients)


def test_every_combiner_is_asked_for_just_what_it_holds_and_the_fold_waits_for_all_of_it() -> None:
    play = held("near", "near", "far", ROOT)
    assert flushes(play) == {"near": tuple(sorted(of(play, "a", "b"))), "far": tuple(of(play, "c"))}
    play.give(ev.Partial("near", 1, of(play, "a", "b")))
    assert play.last(act.PartialReceipt) == act.PartialReceipt("near", 1)
    assert play.last(act.Fold) is None
    play.give(ev.Partial("far", 1, of(play, "c")))
    assert play.last(act.Fold) == act.Fold(play.state.round.token, tuple(sorted(of(play, *FOUR))))  # type: ignore[union-attr]  # it folds
    assert {t.client: t.partial for t in play.state.accepted()} == {"a": "near#1", "b": "near#1", "c": "far#1", "d": ""}


def test_results_that_cannot_be_summed_are_handed_on_one_by_one() -> None:
    play = held("near", "near", ROOT, ROOT)
    for task in of(play, "a", "b"):
        play.give(ev.Forwarded("near", task))
    assert isinstance(play.last(act.Fold), act.Fold)


def test_a_partial_that_comes_again_gets_its_receipt_again_and_nothing_else() -> None:
    play = held("near", "near", "far", ROOT).give(ev.Partial("near", 1, frozenset()))
    partial = ev.Partial("near", 1, of(play, "a", "b"))
    once = play.give(partial).state
    play.actions.clear()
    assert play.give(partial).state == once
    assert play.actions == [act.PartialReceipt("near", 1)]


def test_a_partial_with_a_task_of_another_holder_is_folded_again_without_it() -> None:
    play = held("near", "near", "far", ROOT)
    play.give(ev.Partial("near", 1, of(play, "a", "b", "c")))
    assert play.last(act.Refold) == act.Refold("near", 1, tuple(of(play, "c")))
    assert play.last(act.PartialReceipt) is None


def test_what_a_combiner_believes_after_the_round_is_over_is_not_taken() -> None:
    play = held("near", ROOT, ROOT, ROOT)
    late = of(play, "a")
    play.give(ev.Partial("near", 1, late)).fold()
    play.give(ev.Partial("near", 2, late))
    assert play.last(act.Refold) == act.Refold("near", 2, tuple(late))


def test_the_clients_of_a_lost_combiner_deliver_again_and_do_not_train_again() -> None:
    play = held("near", "near", ROOT, ROOT)
    again = of(play, "a", "b")
    play.give(ev.HolderLost("near"))
    assert {a.task for a in play.actions if isinstance(a, act.Redeliver)} == again
    assert (play.state.round.state, play.asked()) == ("open", ["a", "b"])  # type: ignore[union-attr]  # it is open
    play.give(*(ev.Result(task, "r", ROOT) for task in again))
    assert isinstance(play.last(act.Fold), act.Fold)
    assert sum(isinstance(a, act.Offer) for a in play.actions) == len(FOUR)


def test_a_lost_combiner_takes_nothing_that_is_here_already() -> None:
    play = held("near", "near", "far", ROOT)
    play.give(ev.Partial("near", 1, of(play, "a", "b")), ev.HolderLost("near"))
    assert play.asked() == []
    play.give(ev.Partial("far", 1, of(play, "c")))
    assert isinstance(play.last(act.Fold), act.Fold)


def test_a_combiner_that_lost_some_results_is_asked_for_the_others() -> None:
    play = held("near", "near", ROOT, ROOT)
    play.give(ev.HolderLost("near", of(play, "a")))
    assert play.asked() == ["a"]
    play.give(ev.Partial("near", 1, of(play, "b")), ev.Result(play.of("a").id, "r", "far"))
    assert flushes(play)["far"] == tuple(of(play, "a"))


def test_a_client_of_a_lost_combiner_that_is_gone_too_ends_its_task() -> None:
    play = held("near", ROOT, ROOT, ROOT)
    task = next(iter(of(play, "a")))
    assert play.state.round is not None
    flushing = play.state.round.flushing
    play.give(ev.Gone("a"), ev.HolderLost("near"))
    assert play.ends[task] == "rejected:holder-lost"
    assert play.last(act.Disarm) == act.Disarm(flushing)


def test_a_combiner_that_misses_the_flush_is_lost() -> None:
    play = held("near", ROOT, ROOT, ROOT)
    assert play.state.round is not None
    flushing = play.state.round.flushing
    assert play.last(act.Arm) == act.Arm(flushing, 60)
    play.give(ev.Timer(flushing))
    assert play.asked() == ["a"]


def test_a_combiner_that_is_back_is_asked_again() -> None:
    play = held("near", "far", ROOT, ROOT)
    play.actions.clear()
    play.give(ev.HolderBack("near"))
    assert flushes(play) == {"near": tuple(of(play, "a"))}


def test_a_combiner_that_drains_is_asked_while_the_round_is_open() -> None:
    play = started(FOUR, **RULES)
    play.give(ev.Result(play.of("a").id, "r", "near"), ev.Draining("near"))
    assert flushes(play) == {"near": tuple(of(play, "a"))}
    play.give(ev.Partial("near", 1, of(play, "a"))).answer("b", "c", "d")
    assert isinstance(play.last(act.Fold), act.Fold)


def test_a_pause_stops_the_clock_of_a_flush_and_going_on_asks_again() -> None:
    play = held("near", ROOT, ROOT, ROOT).give(ev.Pause())
    assert play.state.round is not None
    assert play.last(act.Disarm) == act.Disarm(play.state.round.flushing)
    play.actions.clear()
    play.give(ev.Resume())
    assert flushes(play) == {"near": tuple(of(play, "a"))}
    assert isinstance(play.last(act.Arm), act.Arm)


def test_after_a_restart_combiners_are_asked_again() -> None:
    play = held("near", ROOT, ROOT, ROOT)
    play.actions.clear()
    play.give(ev.Recovered())
    assert flushes(play) == {"near": tuple(of(play, "a"))}


def test_a_sum_that_is_damaged_takes_all_its_updates_with_it() -> None:
    play = held("near", "near", ROOT, ROOT)
    lost = of(play, "a", "b")
    play.give(ev.Partial("near", 1, lost))
    assert play.state.round is not None
    play.give(ev.FoldFailed(play.state.round.token, "short", (min(lost),)))
    assert {play.ends[task] for task in lost} == {"rejected:damaged"}


def test_the_loss_of_a_combiner_that_holds_nothing_leaves_the_clock_of_the_flush_alone() -> None:
    play = held("near", ROOT, ROOT, ROOT)
    before = play.state
    play.actions.clear()
    play.give(ev.HolderLost("far"))
    assert (play.state, play.actions) == (before, [])


def test_a_combiner_that_was_refused_a_sum_is_asked_again_for_the_rest() -> None:
    play = held("near", "near", "far", ROOT)
    play.actions.clear()
    play.give(ev.Partial("near", 1, of(play, "a", "b", "c")))
    assert flushes(play) == {"near": tuple(sorted(of(play, "a", "b")))}


def test_a_sum_of_nothing_is_not_taken() -> None:
    play = held("near", ROOT, ROOT, ROOT).give(ev.Partial("near", 1, frozenset()))
    assert play.last(act.Refold) == act.Refold("near", 1, ())
    play.give(ev.Partial("near", 1, of(play, "a")))
    assert isinstance(play.last(act.Fold), act.Fold)


def test_a_sum_that_is_taken_is_told() -> None:
    play = held("near", "near", "far", ROOT)
    play.give(ev.Partial("near", 1, of(play, "a", "b")))
    told = [a for a in play.actions if isinstance(a, act.Emit) and a.type == "partial.accepted"]
    assert [a.body for a in told] == [{"round": 1, "combiner": "near", "updates": 2}]


def test_a_result_that_another_combiner_hands_on_is_not_taken_from_its_holder() -> None:
    play = held("near", ROOT, ROOT, ROOT)
    play.give(ev.Forwarded("far", *of(play, "a")))
    assert play.last(act.Fold) is None


def test_who_drains_is_asked_for_its_own_only() -> None:
    play = started(FOUR, **RULES)
    play.give(ev.Result(play.of("a").id, "r", "near"), ev.Result(play.of("b").id, "r", "far"))
    assert flushes(play.give(ev.Draining("near"))) == {"near": tuple(of(play, "a"))}
    play.actions.clear()
    play.give(ev.Draining("third"), ev.HolderBack("near"))
    assert flushes(play) == {}


def test_the_clock_of_a_flush_means_nothing_to_a_round_that_is_open_and_another_clock_nothing_to_a_flush() -> None:
    play = started(FOUR, **RULES)
    play.give(ev.Result(play.of("a").id, "r", "near"))
    assert play.state.round is not None
    play.give(ev.Timer(play.state.round.flushing))
    assert play.state.tasks["s-1"].holder == "near"
    gathering = held("near", ROOT, ROOT, ROOT)
    assert gathering.state.round is not None
    gathering.give(ev.Timer(gathering.state.round.token))
    assert gathering.asked() == []


def test_a_client_whose_combiner_was_lost_is_not_to_blame() -> None:
    play = started(FOUR, clients={"min": 4}, round={"retries": 1})
    play.give(ev.Result(play.of("a").id, "r", "near")).answer("b", "c")
    play.give(ev.Gone("a"), ev.HolderLost("near"), ev.Present("a"))
    play.fail("d")
    assert "a" in play.asked()


def test_a_round_that_was_closed_by_its_deadline_and_loses_a_combiner_gets_no_new_time() -> None:
    play = started("abc", round={"quorum": 0.6})
    play.give(*(ev.Sent(t.id) for t in play.open()), ev.Result("s-1", "r", "near")).answer("b")
    assert play.state.round is not None
    play.give(ev.Timer(play.state.round.token))
    assert (play.state.round.state, play.state.round.expired) == ("gathering", True)
    play.give(ev.HolderLost("near"))
    assert play.state.round.attempt == 1


def test_a_round_that_waits_for_clients_and_for_a_result_again_has_one_clock() -> None:
    play = started("abc", clients={"min": 3}).give(ev.Result("s-1", "r", "near"), ev.Gone("b"), ev.Gone("c"))
    assert play.state.round is not None
    assert (play.state.round.attempt, play.state.round.target) == (1, 0)
    play.give(ev.HolderLost("near"))
    assert isinstance(play.last(act.Arm), act.Arm)
    play.actions.clear()
    play.give(ev.Present("b"), ev.Present("c"))
    assert (play.asked(), play.last(act.Arm)) == (["a", "b", "c"], None)
