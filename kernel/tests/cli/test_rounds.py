"""The table of rounds, fed by events alone."""

from typing import Any

from fedk.cli.rounds import Rounds


def committed(no: int, *, updates: int = 5, **more: Any) -> tuple[str, dict[str, Any]]:
    body = {"round": no, "updates": updates, "target": 5, "examples": 1437, "metrics": {"train.loss": 0.93}}
    return "round.committed", {**body, "seconds": 0.081, "sent": 194_000, "received": 194_000, **more}


def measured(no: int, value: float, clients: int = 5) -> tuple[str, dict[str, Any]]:
    return "model.measured", {"round": no, "clients": clients, "metrics": {"validate.accuracy": value}}


def fed(*events: tuple[str, dict[str, Any]]) -> tuple[Rounds, list[int]]:
    """The table after the events, and the rounds in the order in which they became complete."""
    rounds = Rounds()
    return rounds, [row.no for event in events for row in rounds.take(*event)]


def test_a_row_holds_what_a_round_was() -> None:
    rounds, _ = fed(("round.open", {"round": 1, "target": 5}), committed(1), measured(1, 0.583))
    assert rounds.header == ["round", "updates", "examples", "train.loss", "validate.accuracy", "seconds", "moved"]
    assert rounds.rows[1].cells(rounds.metrics) == ["1", "5/5", "1,437", "0.930", "0.583", "0.081", "388 kB"]


def test_a_row_is_complete_once_its_model_is_measured_or_the_next_round_shows_that_it_will_not_be() -> None:
    _, complete = fed(committed(1), measured(1, 0.5), committed(2), committed(3), committed(4), measured(4, 0.9))
    assert complete == [1, 2, 3, 4]


def test_the_end_of_the_session_completes_what_is_committed_and_nothing_else() -> None:
    events = (committed(1), ("round.open", {"round": 2, "target": 5}), ("session.stopped", {"why": "by a person"}))
    rounds, complete = fed(*events)
    assert (complete, rounds.status, rounds.why, rounds.open) == ([1], "stopped", "by a person", None)


def test_fewer_measurements_than_asked_are_said() -> None:
    rounds, _ = fed(committed(6), ("round.open", {"round": 7, "target": 4}), measured(6, 0.939, clients=3))
    assert rounds.rows[6].cells(rounds.metrics)[4] == "0.939 (3 of 4)"


def test_the_initial_model_has_no_row_and_its_measurement_no_place() -> None:
    rounds, complete = fed(committed(0), measured(0, 0.1), committed(1))
    assert (list(rounds.rows), complete) == ([1], [])
    assert rounds.metrics == ["train.loss", "validate.accuracy"]


def test_notes_say_who_did_not_answer_and_who_was_asked_instead() -> None:
    rounds, _ = fed(
        ("round.open", {"round": 6, "target": 5}),
        ("update.refused", {"round": 6, "client": "c4", "reason": "non-finite"}),
        ("update.refused", {"round": 6, "client": "c4", "reason": "non-finite"}),
        ("task.failed", {"round": 6, "client": "c5", "reason": "failed", "detail": "ValueError at client.py:21\nmore"}),
        ("task.lost", {"round": 6, "client": "c3"}),
        ("task.replaced", {"round": 6, "client": "c7"}),
        ("round.retried", {"round": 6, "attempt": 2, "why": "quorum"}),
        committed(6, updates=4),
    )
    assert rounds.rows[6].note == (
        "c4 refused: non-finite (2 times), c5 failed: ValueError at client.py:21, c3 lost, c7 asked instead, attempt 2"
    )
    rounds, _ = fed(("task.lost", {"round": 6, "client": "c3"}), committed(6, updates=4))
    assert rounds.rows[6].note == "c3 lost, not replaced"


def test_accepted_updates_count_until_the_commit_says_how_many() -> None:
    rounds, _ = fed(
        ("round.open", {"round": 1, "target": 5}),
        ("update.accepted", {"round": 1, "client": "a"}),
        ("update.accepted", {"round": 1, "client": "b"}),
    )
    assert rounds.open is not None
    assert rounds.open.cells([])[:2] == ["1", "2/5"]


def test_a_failed_session_that_goes_on_opens_its_round_anew() -> None:
    rounds, _ = fed(
        ("round.open", {"round": 1, "target": 5}),
        ("update.accepted", {"round": 1, "client": "a"}),
        ("session.failed", {"why": "quorum"}),
        ("round.open", {"round": 1, "target": 3}),
    )
    assert rounds.status == ""
    assert rounds.open is not None
    assert rounds.open.cells([])[:2] == ["1", "0/3"]


def test_the_summary_names_the_best_model() -> None:
    rounds, _ = fed(committed(1), measured(1, 0.9), committed(2), measured(2, 0.972), committed(3), measured(3, 0.95))
    assert rounds.summary() == (
        "3 rounds in 0.2 s (median 0.081), 1.2 MB moved, best validate.accuracy 0.972 in round 2"
    )
    assert Rounds().summary() == "no round committed"


def test_of_a_loss_the_lowest_is_the_best() -> None:
    def loss(no: int, value: float) -> tuple[str, dict[str, Any]]:
        return "model.measured", {"round": no, "clients": 5, "metrics": {"validate.loss": value}}

    rounds, _ = fed(committed(1), loss(1, 0.4), committed(2), loss(2, 0.2), committed(3), loss(3, 0.3))
    assert rounds.best == ("validate.loss", 0.2, 2)


def test_events_that_it_does_not_know_change_nothing() -> None:
    rounds, complete = fed(("client.progress", {"client": "a"}), ("what.is.this", {}))
    assert (rounds.rows, complete) == ({}, [])


def test_a_model_of_before_that_is_measured_late_is_no_row() -> None:
    rounds = Rounds()
    rounds.take("model.measured", {"round": 4, "clients": 2, "metrics": {"validate.accuracy": 0.5}})
    assert rounds.rows == {}
