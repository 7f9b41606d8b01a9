"""Records and their copies."""

import pytest

from fedk.aggregation.record import record
from fedk.rounds.copies import replace
from fedk.rounds.states import End, Task

TASK = Task("s1-7", 7, "c", "train", 2, 0, 1)


def test_a_copy_has_what_the_record_has_but_for_what_was_named() -> None:
    found = replace(TASK, state="settled", end=End("committed"))
    assert (found.id, found.number, found.base, found.state, found.end) == ("s1-7", 7, 1, "settled", End("committed"))
    assert (TASK.state, TASK.end) == ("queued", None)


def test_a_copy_cannot_have_what_the_record_has_not() -> None:
    with pytest.raises(TypeError, match="Task has no colour"):
        replace(TASK, colour="red")


def test_records_are_equal_and_found_by_what_they_say_and_have_no_other_fields() -> None:
    @record(frozen=True, slots=True)
    class Said:
        word: str
        times: int = 1

    assert Said("yes") == Said("yes", 1)
    assert {Said("yes"): 2}[Said("yes")] == 2
    assert not hasattr(Said("yes"), "__dict__")
