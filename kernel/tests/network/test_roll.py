"""Clients by number."""

import pytest

from fedk.network.roll import Roll


def test_a_client_keeps_the_number_under_which_it_was_named_first() -> None:
    roll = Roll()
    roll.enter(["a", "b"])
    roll.enter(["b", "c", "a"])
    assert [roll[client] for client in "abc"] == [0, 1, 2]
    assert [roll.name(number) for number in range(3)] == ["a", "b", "c"]


def test_who_was_not_named_has_no_number() -> None:
    roll = Roll()
    assert roll.number("a") is None
    with pytest.raises(ValueError, match="client 0 of a stream that has named 0"):
        roll.name(0)
