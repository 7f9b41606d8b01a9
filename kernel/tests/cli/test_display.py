"""A run on its way to people: lines in a pipe, one live table on a terminal."""

import io
import os
import pty
import re
from typing import Any

import pytest

from fedk.cli.display import display, spark

EVENTS: list[tuple[str, dict[str, Any]]] = [
    ("round.open", {"round": 1, "target": 2}),
    ("round.committed", {"round": 1, "updates": 2, "target": 2, "examples": 20, "seconds": 0.5, "sent": 5, "received": 5}),
    ("round.open", {"round": 2, "target": 2}),
    ("task.lost", {"round": 2, "client": "b"}),
    ("model.measured", {"round": 1, "clients": 2, "metrics": {"validate.accuracy": 0.5}}),
    ("round.committed", {"round": 2, "updates": 1, "target": 2, "examples": 10, "seconds": 30.11, "sent": 5, "received": 5}),
    ("model.measured", {"round": 2, "clients": 2, "metrics": {"validate.accuracy": 0.75}}),
]  # fmt: skip


def test_a_pipe_gets_one_plain_line_for_each_complete_round() -> None:
    out = io.StringIO()
    with display(out) as shown:
        for event in EVENTS:
            shown.take(*event)
    assert out.getvalue().splitlines() == [
        " round  updates  examples  validate.accuracy  seconds     moved",
        "     1      2/2        20              0.500    0.500      10 B",
        "     2      1/2        10              0.750    30.11      10 B   b lost, not replaced",
    ]


def test_a_metric_that_comes_later_gets_a_column_under_a_new_header() -> None:
    out = io.StringIO()
    with display(out) as shown:
        shown.take("round.committed", {"round": 1, "updates": 2, "metrics": {"train.loss": 1.0}})
        shown.take("round.committed", {"round": 2, "updates": 2, "metrics": {"train.loss": 1.0, "train.f1": 0.5}})
        shown.take("session.finished", {"why": ""})
    headers = [line.split() for line in out.getvalue().splitlines() if "round" in line]
    assert headers == [["round", "updates", "examples", "train.loss", "train.f1", "seconds", "moved"]]


def test_what_a_session_waits_for_is_said_once_in_a_pipe() -> None:
    out = io.StringIO()
    with display(out) as shown:
        for words in ("clients: 1 present, 2 needed", "clients: 1 present, 2 needed", "", "a person to resume it"):
            shown.wait(words)
        shown.say("a line")
    assert out.getvalue() == "waiting   clients: 1 present, 2 needed\nwaiting   a person to resume it\na line\n"


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> str:
    """The text that is left on a terminal of 100 × 24 after all events."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "24")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8") as out:
        with display(out, title="digits-1   fedavg", total=20, hint="Ctrl-C leaves") as shown:
            for event in EVENTS:
                shown.take(*event)
            shown.take("round.open", {"round": 3, "target": 4})
            shown.take("update.accepted", {"round": 3, "client": "a"})
            shown.wait("b c d (training)", 581.0)
            shown.say("a line of its own")
        out.flush()
        text = b""
        while b"validate.accuracy \xe2\x96" not in text.rpartition(b"digits-1")[2]:
            text += os.read(ours, 65536)
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.decode())


def test_a_terminal_shows_one_table_with_the_open_round_and_a_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    text = on_a_terminal(monkeypatch)
    assert "a line of its own" in text
    last = text[text.rindex("digits-1   fedavg   running   round 3 of 20") :]
    assert re.search(r"round 3 +█████░{15} +1 of 4 updates", last)
    assert re.search(r"2 +1/2 +10 +0\.750 +30\.11 +10 B +b lost, not replaced", last)
    assert "validate.accuracy ▁█" in last


def test_a_curve_spans_its_own_values_and_a_flat_one_is_low() -> None:
    assert spark([0.1, 0.5, 0.9]) == "▁▅█"
    assert spark([3.0, 3.0]) == "▁▁"
    assert len(spark([float(n) for n in range(1000)])) == 40


@pytest.mark.parametrize("live", [False, True])
def test_words_of_clients_steer_no_terminal(live: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: live)
    with display(out) as shown:
        for event in EVENTS[:3]:
            shown.take(*event)
        shown.take("task.failed", {"round": 2, "client": "b", "reason": "raised", "detail": "\x1b]0;title\x07\x9b2J"})
        for event in EVENTS[4:]:
            shown.take(*event)
        shown.say("\x1b]52;c;evil\x07")
    assert "\\x1b]52;c;evil\\x07" in out.getvalue()
    assert "\x1b]" not in out.getvalue()
    assert "\x9b" not in out.getvalue()
