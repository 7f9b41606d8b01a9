"""Tickets."""

import base64
import json
import time

import pytest

from fedk.network.tickets import LIFE, BadTicket, Tickets


def test_a_ticket_says_whose_it_is_and_lives_an_hour() -> None:
    tickets = Tickets("root")
    ticket = tickets.read(tickets.mint("c1", "i1"))
    assert (ticket.client, ticket.instance, ticket.holder, ticket.expired) == ("c1", "i1", "root", False)
    assert 0 < ticket.expires - time.time() <= LIFE == 3600


def test_a_ticket_that_was_changed_is_none() -> None:
    tickets = Tickets("root")
    raw = base64.urlsafe_b64decode(tickets.mint("c1", "i1"))
    body = json.loads(raw[32:])
    forged = raw[:32] + json.dumps({**body, "client": "c2"}, separators=(",", ":")).encode()
    with pytest.raises(BadTicket, match="not a ticket of this server"):
        tickets.read(base64.urlsafe_b64encode(forged).decode())


def test_a_ticket_of_another_process_is_none() -> None:
    with pytest.raises(BadTicket):
        Tickets("root").read(Tickets("root").mint("c1", "i1"))


def test_a_ticket_has_the_one_of_the_server_above_in_it() -> None:
    root, middle = Tickets("root"), Tickets("middle")
    above = root.mint("default/a", "", "middle")
    found = middle.read(middle.mint("default/a", "", "leaf", above))
    assert (found.holder, root.read(found.above).holder) == ("leaf", "middle")


def test_servers_with_one_key_read_each_others_tickets() -> None:
    assert Tickets("b", b"key").read(Tickets("a", b"key").mint("c1", "i1")).holder == "a"


@pytest.mark.parametrize("text", ["", "ticket-1", "ä", "A" * 7, "A" * 100_000])
def test_what_is_no_ticket_is_refused(text: str) -> None:
    with pytest.raises(BadTicket):
        Tickets("root").read(text)
