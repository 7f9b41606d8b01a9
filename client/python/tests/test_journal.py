import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import pytest

from fedk_client.journal import log, on_stderr, say


@contextmanager
def printed(to: io.StringIO | None = None) -> Iterator[io.StringIO]:
    """What a program prints that has set up no logging: there is no handler anywhere."""
    handlers, logging.root.handlers = logging.root.handlers, []
    try:
        with redirect_stderr(to or io.StringIO()) as stderr, on_stderr():
            yield stderr
    finally:
        logging.root.handlers = handlers


class Records(logging.Handler):
    """What it hears."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_a_line_of_each_round_looks_like_any_other() -> None:
    with printed() as stderr:
        say("digits-1 round 7 train, 100 % done")
        log.info("%s", "digits-1 round 7 train, 100 % done")
    one, other = stderr.getvalue().splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d digits-1 round 7 train, 100 % done", one)
    assert one[8:] == other[8:]


@pytest.mark.parametrize("logger", [log, logging.root])
def test_who_listens_too_hears_it(logger: logging.Logger) -> None:
    with printed() as stderr:
        records = Records()
        logger.addHandler(records)
        try:
            say("digits-1 round 7")
        finally:
            logger.removeHandler(records)
    assert records.lines == ["digits-1 round 7"]
    assert stderr.getvalue().count("digits-1 round 7") == 1


def test_a_level_that_was_chosen_is_kept_to() -> None:
    log.setLevel(logging.WARNING)
    try:
        with printed() as stderr:
            say("digits-1 round 7")
    finally:
        log.setLevel(logging.NOTSET)
    assert stderr.getvalue() == ""


class Broken(io.StringIO):
    """A program's own stream."""

    def write(self, text: str) -> int:
        raise RuntimeError(text)


def test_a_stream_that_raises_ends_no_client() -> None:
    with printed(Broken()):
        say("digits-1 round 7")
        log.info("%s", "digits-1 round 8")


def test_a_closed_stderr_ends_no_client() -> None:
    with printed() as stderr:
        stderr.close()
        say("digits-1 round 7")
        log.info("%s", "digits-1 round 8")
