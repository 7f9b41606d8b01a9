"""The log of a server: one event a line, whatever strangers call themselves."""

import json
import logging

import pytest

from fedk.log import Json, Text


def record(message: str, **fields: object) -> logging.LogRecord:
    found = logging.LogRecord("fedk", logging.INFO, "", 0, message, (), None)
    found.fields = fields
    return found


def test_fields_stand_beside_the_event() -> None:
    line = Text().format(record("round.open", session="größe-1", round=7, note="two words"))
    assert line.split(" ", 1)[1] == 'info  round.open       session=größe-1 round=7 note="two words"'


@pytest.mark.parametrize("form", [Text(), Json()])
@pytest.mark.parametrize("hostile", ["a\n12:00 info forged", "\x1b[2J", "\r", "\x9b31m", "\u202egnp", "\u2028", "\x7f"])
def test_no_field_or_message_breaks_a_line_or_steers_a_terminal(form: logging.Formatter, hostile: str) -> None:
    assert form.format(record(f"said {hostile}", detail=hostile)).isprintable()


def test_json_says_exactly_what_was_said() -> None:
    assert json.loads(Json().format(record("x", detail="\x9b31m ü")))["detail"] == "\x9b31m ü"
