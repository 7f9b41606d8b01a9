"""The machine, played: each test is one rule of the table; the last one plays random schedules."""

import random
from collections.abc import Iterable
from typing import Any

import pytest

from fedk.rounds import actions as act
from fedk.rounds import events as ev
from fedk.rounds.counts import wanted
from fedk.rounds.machine import advance
from fedk.rounds.rules import Rules
from fedk.rounds.states import ENDED, ROOT, Session, Task


def session(names: Iterable[str] = (), /, *, head: int = 0, **rules: Any) -> Session:
    given = Rules.model_validate({"rounds": 2, "validation": {"every": 0}, **rules})
    return Session(
        id="s",
        rules=given.settled(minimum=1, seed=1),
        head=head,
        present=frozenset(names),
        validators=frozenset(names),
    )


class Play:
    """A session, and everything that it asked for."""

    def __init__(self, state: Session) -> None:
        self.state, self.actions, self.ends = state, list[act.Action](), dict[str, str]()

    def give(self, *events: ev.Event) -> "Play":
        self.state, actions = advance(self.state, events)
        self.actions.extend(actions)
        for task in self.state.tasks.values():
            if task.end is not None:
                self.ends[task.id] = ":".join(filter(None, (task.end.outcome, task.end.reason)))
        for action in actions:
            if isinstance(action, act.Select):
                self.give(ev.Selected(action.token, tuple(sorted(action.among))[: action.count]))
        return self

    def open(self) -> list[Task]:
        return sorted(self.state.outstanding(), key=lambda t: t.number)

    def of(self, client: str) -> Task:
        return next(t for t in self.open() if t.client == client)

    def answer(self, *clients: str) -> "Play":
        return self.give(*(ev.Result(self.of(c).id, "r", ROOT) for c in clients))

    def fail(self, client: str) -> "Play":
        return self.give(ev.TaskFailed(self.of(client).id, "raised", "ValueError"))

    def fold(self, enough: str = "") -> "Play":
        assert self.state.round is not None
        return self.give(ev.Folded(self.state.round.token, enough))

    def asked(self) -> list[str]:
        return [t.client for t in self.open()]

    def status(self) -> str:
        return self.state.status

    def last(self, kind: type[act.Action]) -> act.Action | None:
        return next((a for a in reversed(self.actions) if isinstance(a, kind)), None)


def started(names: str, /, **rules: Any) -> Play:
    return Play(session(names, **rules)).give(ev.Start())


def test_a_session_waits_while_fewer_than_min_are_present() -> None:
    play = started("a", clients={"min": 2})
    assert play.open() == []
    play.give(ev.Present("b"))
    assert play.asked() == ["a", "b"]


def test_all_answers_close_the_round_and_the_next_one_asks_again() -> None:
    play = started("abc").answer("a", "b", "c")
    assert isinstance(play.last(act.Fold), act.Fold)
    play.fold()
    assert (play.state.head, play.asked()) == (1, ["a", "b", "c"])
    play.answer("a", "b", "c").fold()
    assert (play.state.status, play.state.head) == ("finished", 2)


def test_without_a_first_model_one_client_is_asked_for_it_and_a_failing_one_is_replaced() -> None:
    play = started("abc", head=-1)
    assert [(t.client, t.kind) for t in play.open()] == [("a", "init")]
    play.fail("a")
    assert [(t.client, t.kind) for t in play.open()] == [("b", "init")]
    play.answer("b").fold()
    assert play.state.head == 0
    assert play.asked() == ["a", "b", "c"]


def test_one_of_five_that_always_fails_is_left_out_after_two_tries() -> None:
    play = started("abcde").answer("a", "b", "c", "d").fail("e")
    assert play.asked() == ["e"]
    play.fail("e")
    fold = play.last(act.Fold)
    assert isinstance(fold, act.Fold)
    assert len(fold.tasks) == 4


def test_a_retry_keeps_what_was_accepted() -> None:
    play = started("ab").answer("a").fail("b")
    assert play.asked() == ["b"]
    play.answer("b")
    fold = play.last(act.Fold)
    assert isinstance(fold, act.Fold)
    assert len(fold.tasks) == 2


def test_attempts_spent_fail_the_session_and_it_can_be_resumed() -> None:
    play = started("ab", round={"retries": 0}).answer("a").fail("b")
    assert play.state.status == "failed"
    assert "quorum 2 of 2 not reached: 1 updates" in play.state.why
    play.give(ev.Resume())
    assert (play.state.status, play.asked()) == ("running", ["a", "b"])
    assert play.state.round is not None
    assert play.state.round.attempt == 0


def test_a_client_that_is_gone_is_replaced_by_an_idle_one() -> None:
    play = started("abc", clients={"fraction": 0.67})
    assert play.asked() == ["a", "b"]
    play.give(ev.Gone("a"))
    assert play.asked() == ["b", "c"]


def test_without_replacement_nobody_new_is_asked_in_an_attempt() -> None:
    play = started("abc", clients={"fraction": 0.67}, round={"replace": False}).give(ev.Gone("a"))
    assert play.asked() == ["b"]


def test_a_gone_client_of_ten_costs_no_deadline() -> None:
    play = started("abcdefghij").answer(*"abcdefghi").give(ev.Gone("j"))
    fold = play.last(act.Fold)
    assert isinstance(fold, act.Fold)
    assert len(fold.tasks) == 9


def test_the_deadline_closes_a_round_with_quorum_and_the_rest_is_late() -> None:
    play = started("abcde", round={"quorum": 0.8})
    slow = play.of("e").id
    play.give(ev.Sent(slow)).answer("a", "b", "c", "d")
    assert play.last(act.Fold) is None
    arm = play.last(act.Arm)
    assert isinstance(arm, act.Arm)
    play.give(ev.Timer(arm.token))
    assert isinstance(play.last(act.Fold), act.Fold)
    assert play.ends[slow] == "rejected:late"


def test_the_deadline_without_quorum_keeps_the_running_task_and_arms_again() -> None:
    play = started("abc", round={"quorum": 1.0})
    slow = play.of("c").id
    play.give(ev.Sent(slow)).answer("a", "b")
    arm = play.last(act.Arm)
    assert isinstance(arm, act.Arm)
    play.give(ev.Timer(arm.token))
    again = play.last(act.Arm)
    assert isinstance(again, act.Arm)
    assert again.token.attempt == 1
    assert play.of("c").id == slow
    play.give(ev.Timer(arm.token))  # stale: nothing happens
    assert play.state.round is not None
    assert play.state.round.attempt == 1
    play.answer("c")
    assert isinstance(play.last(act.Fold), act.Fold)


def test_a_paused_session_takes_answers_and_closes_nothing() -> None:
    play = started("ab").give(ev.Pause()).answer("a", "b")
    assert play.last(act.Fold) is None
    play.give(ev.Unblocked())
    assert play.state.status == "paused"
    play.give(ev.Resume())
    assert isinstance(play.last(act.Fold), act.Fold)


def test_pause_stops_the_clock_and_resume_starts_it() -> None:
    play = started("ab")
    play.give(ev.Sent(play.of("a").id), ev.Pause())
    assert isinstance(play.actions[-2], act.Disarm)
    play.give(ev.Resume())
    assert isinstance(play.last(act.Arm), act.Arm)
    assert play.asked() == ["a", "b"]


def test_stop_gives_every_task_its_verdict() -> None:
    play = started("abc")
    ids = [t.id for t in play.open()]
    play.answer("a").give(ev.Stop())
    assert {play.ends[i] for i in ids} == {"rejected:session-stopped"}
    assert play.state.status == "stopped"
    play.give(ev.Resume())
    assert play.state.status == "stopped"


def test_the_first_result_of_a_task_wins_and_a_duplicate_gets_its_word_again() -> None:
    play = started("ab")
    task = play.of("a").id
    play.answer("a").give(ev.Result(task, "other", ROOT))
    assert play.state.tasks[task].result_id == "r"
    assert sum(isinstance(a, act.Receipt) for a in play.actions) == 2
    play.answer("b").fold()
    assert sum(isinstance(a, act.Settle) for a in play.actions) == 2


def test_the_last_model_is_validated_before_the_session_is_finished() -> None:
    play = started("ab", rounds=1, validation={"every": 1}).answer("a", "b").fold()
    assert [(t.client, t.kind) for t in play.open()] == [("a", "validate"), ("b", "validate")]
    assert play.status() == "running"
    play.answer("a").give(ev.Gone("b"))
    assert play.status() == "finished"


def test_enough_finishes_early() -> None:
    play = started("ab", rounds=9).answer("a", "b").fold(enough="validate.accuracy 0.98 >= 0.97")
    assert (play.state.status, play.state.head) == ("finished", 1)
    assert "0.98" in play.state.why


def test_a_formula_that_fails_ends_the_session_and_a_damaged_result_only_itself() -> None:
    play = started("ab").answer("a", "b")
    round_ = play.state.round
    assert round_ is not None
    lost = round_.frozen[0]
    play.give(ev.FoldFailed(round_.token, "bytes are gone", (lost,)))
    assert play.ends[lost] == "rejected:damaged"
    assert play.asked() == ["a"]
    play.answer("a")
    assert play.state.round is not None
    play.give(ev.FoldFailed(play.state.round.token, "fedavg: boom"))
    assert (play.state.status, play.state.why) == ("failed", "fedavg: boom")


def test_async_answers_during_a_fold_belong_to_the_next_round() -> None:
    rules = {"mode": "async", "async": {"buffer": 2}}
    play = started("abc", **rules).answer("a", "b")
    late = play.of("c").id
    play.answer("c")
    assert play.state.tasks[late].round == 2
    play.fold()
    assert play.state.head == 1
    assert late in {t.id for t in play.state.accepted()}


def test_as_many_answers_are_waited_for_as_the_round_still_aims_at() -> None:
    assert wanted(session("ab")) == 0
    play = started("abcd", clients={"min": 2, "fraction": 0.5}, round={"over_select": 2.0})
    assert (len(play.open()), wanted(play.state)) == (4, 2)
    assert wanted(play.answer("a").state) == 1


def test_an_accepted_update_is_as_old_as_its_own_round_says() -> None:
    play = started("ab").answer("a", "b")
    assert (play.state.accepting, {play.state.staleness(t) for t in play.state.accepted()}) == (2, {0})


def test_async_refuses_what_is_too_stale() -> None:
    play = started("ab", rounds=9, mode="async", **{"async": {"buffer": 1, "max_staleness": 1}})
    slow = play.of("b").id
    for _ in range(3):
        play.answer("a").fold()
    play.answer("b")
    assert play.ends[slow] == "rejected:stale"


def test_a_restart_derives_everything_pending_again() -> None:
    play = started("abc").answer("a")
    play.give(ev.Sent(play.of("b").id))
    play.actions.clear()
    play.give(ev.Recovered())
    kinds = [type(a) for a in play.actions]
    assert kinds.count(act.Offer) == 2
    assert act.Arm in kinds
    play.answer("b", "c").actions.clear()
    play.give(ev.Recovered())
    assert any(isinstance(a, act.Fold) for a in play.actions)


def test_each_model_that_is_begun_is_counted_before_and_one_that_is_begun_again_twice() -> None:
    """Noise that was drawn for a model is spent, whether it was committed or lost with the server."""
    play = Play(session("ab", head=-1)).give(ev.Start()).answer("a").fold()
    assert play.state.folds == 0, "the initial model is no fold"
    play.answer("a", "b")
    assert play.state.folds == 1
    play.give(ev.Recovered())
    assert play.state.folds == 2
    play.fold().answer("a", "b")
    assert play.state.folds == 3


NAMES = "abcde"


def invariants(state: Session, commits: dict[int, tuple[str, ...]]) -> None:
    used = [t for tasks in commits.values() for t in tasks]
    assert len(used) == len(set(used)), "a task is in two models"
    if state.status in ENDED:
        assert all(t.state == "settled" for t in state.tasks.values())
    for task in state.tasks.values():
        if task.end is not None and task.end.outcome == "committed":
            assert task.id in used


@pytest.mark.parametrize("seed", range(600))
def test_random_schedules_end_and_keep_the_invariants(seed: int) -> None:
    """Crashes drop undelivered actions, messages are doubled and reordered, clients come and go."""
    g = random.Random(seed)
    rules: dict[str, Any] = {"async": {"buffer": g.choice([1, 3]), "max_staleness": g.choice([2, 9])}}
    state = session(
        head=g.choice([-1, 0]),
        rounds=4,
        mode=g.choice(["sync", "async"]),
        clients={"fraction": g.choice([0.5, 1.0]), "min": g.choice([1, 2])},
        round={
            "quorum": g.choice([0.5, 0.8, 1.0]),
            "over_select": g.choice([1.0, 1.5]),
            "retries": g.choice([2, 5]),
            "replace": g.choice([True, False]),
        },
        validation={"every": g.choice([0, 1])},
        **rules,
    )
    net: list[ev.Event] = [ev.Start(), *(ev.Present(c) for c in NAMES)]
    commits: dict[int, tuple[str, ...]] = {}
    for _ in range(4000):
        if not net:
            if state.status in ENDED:
                break
            net.append(nudge(state, g))
        batch = [net.pop(g.randrange(len(net))) for _ in range(min(len(net), g.choice([1, 1, 3])))]
        before = state
        state, actions = advance(state, batch)
        if state.head > before.head:
            assert before.round is not None
            commits[state.head] = before.round.frozen
        net += [e for a in actions for e in world(a, g)]
        net += happenings(g)
        if g.random() < 0.01:  # a crash: what was under way is forgotten, what clients hold is not
            net = [*(e for e in net if isinstance(e, ev.Result | ev.Start | ev.Resume | ev.Present)), ev.Recovered()]
        invariants(state, commits)
    else:
        pytest.fail(f"no end: seed {seed}, {state.status}, head {state.head}, {state.round}")


def world(action: act.Action, g: random.Random) -> list[ev.Event]:
    """What the world may answer to an action."""
    match action:
        case act.Select():
            return [ev.Selected(action.token, tuple(g.sample(sorted(action.among), action.count)))]
        case act.Offer():
            answers: list[ev.Event] = [ev.Sent(action.task)]
            luck = g.random()
            if luck < 0.85:
                answers.append(ev.Result(action.task, "r", ROOT))
            elif luck < 0.9:
                answers.append(ev.TaskFailed(action.task, "raised"))
            elif luck < 0.95:
                answers.append(ev.Refused(action.task, "non-finite"))
            if luck < 0.1:
                answers.append(ev.Result(action.task, "r", ROOT))
            return answers
        case act.Arm():
            return [ev.Timer(action.token)]
        case act.Fold():
            return [ev.Folded(action.token)]
        case _:
            return []


def happenings(g: random.Random) -> list[ev.Event]:
    luck = g.random()
    if luck < 0.03:
        return [ev.Gone(g.choice(NAMES))]
    if luck < 0.05:
        return [ev.Pause()]
    if luck < 0.08:
        return [ev.Present(g.choice(NAMES))]
    return []


def nudge(state: Session, g: random.Random) -> ev.Event:
    """What a person or a client does when nothing is under way."""
    if state.status == "paused":
        return ev.Resume()
    away = sorted(set(NAMES) - state.present)
    if away and g.random() < 0.5:
        return ev.Present(g.choice(away))
    return ev.Recovered()


def folding(**rules: Any) -> Play:
    play = started("ab", **rules)
    play.give(ev.Sent(play.of("a").id), ev.Sent(play.of("b").id)).answer("a", "b").actions.clear()
    return play


def token(play: Play) -> Any:
    assert play.state.round is not None
    return play.state.round.token


def test_a_model_that_could_not_be_stored_is_made_again_once_the_session_goes_on() -> None:
    play = folding()
    play.give(ev.Blocked("no space left", token(play)), ev.Resume())
    assert isinstance(play.last(act.Fold), act.Fold)


def test_a_session_paused_while_it_folds_makes_its_model_after_a_restart_when_it_goes_on() -> None:
    play = folding()
    play.give(ev.Pause(), ev.Recovered())
    assert play.last(act.Fold) is None
    play.give(ev.Resume())
    assert isinstance(play.last(act.Fold), act.Fold)


def test_a_round_that_waits_again_for_a_damaged_result_has_its_clock_again() -> None:
    play = folding()
    assert play.state.round is not None
    play.give(ev.FoldFailed(token(play), "damaged", play.state.round.frozen[:1]))
    play.give(ev.Sent(play.of("a").id))
    assert isinstance(play.last(act.Arm), act.Arm)


def vetoed(play: Play, *events: ev.Event) -> int:
    """Give events while a gate vetoes everybody; how often it was asked."""
    asked, queue = 0, list(events)
    while queue:
        play.state, actions = advance(play.state, [queue.pop(0)])
        play.actions.extend(actions)
        for action in actions:
            if isinstance(action, act.Select):
                asked += 1
                queue.append(ev.Selected(action.token, (), action.among, ("guard",)))
    return asked


def test_async_a_gate_that_vetoes_everybody_is_asked_again_at_the_deadline_until_the_attempts_are_spent() -> None:
    play = Play(session("abc", mode="async", round={"retries": 2}))
    assert vetoed(play, ev.Start()) == 1
    for attempt in range(3):
        arm = play.last(act.Arm)
        assert isinstance(arm, act.Arm)
        assert arm.token.attempt == attempt
        asked = vetoed(play, ev.Timer(arm.token))
        assert asked == (attempt < 2)
    assert play.state.status == "failed"
    assert "quorum" in play.state.why


def test_async_a_gate_that_admits_somebody_at_the_deadline_lets_the_round_go_on() -> None:
    rules: dict[str, Any] = {"mode": "async", "async": {"buffer": 1}}
    play = Play(session("abc", **rules))
    vetoed(play, ev.Start())
    arm = play.last(act.Arm)
    assert isinstance(arm, act.Arm)
    play.give(ev.Timer(arm.token))
    assert play.asked() == ["a", "b", "c"]
    play.answer("b")
    assert isinstance(play.last(act.Fold), act.Fold)
