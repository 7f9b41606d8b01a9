"""What takes long shows where it is: in place on a terminal, now and then in a pipe."""

import io

import pytest

from fedk.cli.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_one_line_that_is_renewed_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    err = Terminal()
    monkeypatch.setattr("sys.stderr", err)
    with progress("verifying") as at:
        at("s/0 (1 of 2)")
        at("s/1 (2 of 2)")
    assert err.getvalue() == "\r\x1b[Kverifying s/0 (1 of 2)\r\x1b[Kverifying s/1 (2 of 2)\r\x1b[K"


def test_a_pipe_has_nothing_of_what_is_soon_done(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("verifying") as at:
        at("s/0 (1 of 1)")
    assert capsys.readouterr().err == ""


def test_a_pipe_has_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("fedk.cli.progress._NOW_AND_THEN", 0.0)
    with progress("verifying") as at:
        at("s/0 (1 of 1)")
    assert capsys.readouterr().err == "verifying s/0 (1 of 1)\n"
