"""Which server serves a client."""

import socket
import time
from collections.abc import Sequence
from typing import Any

import pytest

from fedk.api.balancer import Balancer, ClientView, ServerView
from fedk.api.config import Config
from fedk.catalogue import Catalogue
from fedk.network.placement import Placement
from fedk_protocol.v1 import federation_pb2 as pb

BALANCER = Catalogue.scan().create("balancer", "least-loaded")


ALONE: Any = {"serves": True, "combiners": list, "ticket": lambda client, holder, _: f"{client} at {holder}"}


def placement(*advertise: str, state: str = "live") -> Placement:
    made = Placement("root", advertise, BALANCER, clients=lambda: 3, state=lambda: state, **ALONE)
    made.listens("127.0.0.1:6090")
    return made


def test_this_one_does() -> None:
    assert list(placement().locate(pb.LocateRequest(name="a")).addresses) == ["127.0.0.1:6090"]


def test_by_the_addresses_that_clients_can_reach() -> None:
    found = placement("fl.example.org:443", "10.0.0.1:6090").locate(pb.LocateRequest(name="a"))
    assert list(found.addresses) == ["fl.example.org:443", "10.0.0.1:6090"]


def test_who_asks_has_reached_this_one_whatever_it_says() -> None:
    found = placement().locate(pb.LocateRequest(name="a", unreachable=["127.0.0.1:6090"]))
    assert (list(found.addresses), found.here) == (["127.0.0.1:6090"], True)


def test_a_server_that_drains_takes_nobody() -> None:
    assert placement(state="draining").locate(pb.LocateRequest(name="a")).wait == 5.0


def server(name: str, **more: Any) -> ServerView:
    return ServerView(name=name, addresses=(f"{name}:1", f"{name}:2"), **more)


def root(
    *combiners: ServerView, balancer: Balancer[Any] = BALANCER, serves: bool = False, state: str = "live"
) -> Placement:
    more: Any = {**ALONE, "serves": serves, "combiners": lambda: combiners, "state": lambda: state}
    made = Placement("root", ["root:1"], balancer, clients=lambda: 3, **more)
    made.listens("127.0.0.1:6090")
    return made


def asked(made: Placement, *unreachable: str, name: str = "a") -> pb.LocateReply:
    return made.locate(pb.LocateRequest(name=name, unreachable=unreachable))


def test_a_client_is_not_sent_where_it_has_not_come() -> None:
    found = asked(root(server("east"), server("west")), "east:1", "east:2")
    assert (list(found.addresses), found.ticket) == (["west:1", "west:2"], "default/a at west")


def test_a_server_of_which_one_address_is_left_is_left() -> None:
    assert list(asked(root(server("east")), "east:1").addresses) == ["east:1", "east:2"]


def test_what_was_said_holds_for_the_next_hello_and_adds_up() -> None:
    made = root(server("east"), server("west", clients=3), server("south", clients=6))
    asked(made, "east:1", "east:2")
    assert made.place("default", "a", {}).addresses[0] == "west:1"
    asked(made, "west:1", "west:2")
    assert made.place("default", "a", {}).addresses[0] == "south:1"
    assert made.place("default", "b", {}).addresses[0] == "east:1"


def test_what_was_said_is_forgotten_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    made, now = root(server("east"), server("west", clients=3)), time.monotonic()
    asked(made, "east:1", "east:2")
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    assert made.place("default", "a", {}).addresses[0] == "east:1"


def test_a_client_that_reaches_no_combiner_is_served_here_and_others_are_not() -> None:
    made = root(server("east"), server("west", state="draining"))
    assert asked(made, "east:1", "east:2").here
    assert made.place("default", "a", {}).here
    assert not made.place("default", "b", {}).here


def test_a_client_waits_for_a_combiner_that_is_full() -> None:
    assert asked(root(server("east"), server("west", clients=9, capacity=9)), "east:1", "east:2").wait == 5.0


def test_with_no_combiner_at_all_clients_wait() -> None:
    assert asked(root(), "east:1", "east:2").wait == 5.0


def test_a_server_that_stops_serves_nobody_who_reaches_no_combiner() -> None:
    assert asked(root(server("east"), state="draining"), "east:1", "east:2").wait == 5.0


def test_clients_that_say_hello_at_once_are_spread_before_any_has_come() -> None:
    made = root(server("east"), server("west"))
    placed = [made.place("default", f"c{n}", {}).addresses[0] for n in range(6)]
    assert (placed.count("east:1"), placed.count("west:1")) == (3, 3)


def test_those_who_are_let_in_here_count_before_they_are_members() -> None:
    made = root(server("east"), server("west"), serves=True)  # three are connected here
    placed = [made.place("default", f"c{n}", {}).addresses[0] for n in range(12)]
    assert [placed.count(f"{name}:1") for name in ("root", "east", "west")] == [2, 5, 5]


def test_a_client_that_has_come_or_stays_away_is_not_counted_as_coming(monkeypatch: pytest.MonkeyPatch) -> None:
    made, now = root(server("east"), server("west", clients=1)), time.monotonic()
    made.place("default", "a", {})
    made.arrived("default", "a")
    assert made.place("default", "b", {}).addresses[0] == "east:1"
    assert made.place("default", "b", {}).addresses[0] == "east:1"  # it comes again, and is one
    monkeypatch.setattr(time, "monotonic", lambda: now + 11)
    assert made.place("default", "c", {}).addresses[0] == "east:1"


class Seen(Balancer[Config]):
    """Takes the last server that it is shown."""

    names: tuple[str, ...] = ()

    def assign(self, _: ClientView, servers: Sequence[ServerView]) -> ServerView | None:
        self.names = tuple(server.name for server in servers)
        return servers[-1]


def test_a_balancer_is_not_shown_what_cannot_be_reached() -> None:
    balancer = Seen()
    made = root(server("east", clients=5), server("west"), balancer=balancer, serves=True)
    asked(made, "west:1", "west:2")
    assert balancer.names == ("root", "east")
    assert list(made.moves({"c1": ("east", made.view("default", "a", {}))})) == []
    assert balancer.names == ("root", "east")


def test_strange_addresses_are_not_kept_and_the_oldest_clients_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedk.network.placement.MOST", 2)
    made = root(server("east"), server("west", clients=9))
    asked(made, *(f"nowhere:{n}" for n in range(1_000)), name="junk")
    for name in ("a", "b", "a", "c"):
        asked(made, "east:1", "east:2", name=name)
    placed = {name: made.place("default", name, {}).addresses[0] for name in ("a", "b", "c", "junk")}
    assert placed == {"a": "west:1", "b": "east:1", "c": "west:1", "junk": "east:1"}


def test_nobody_is_sent_to_every_address() -> None:
    made = placement()
    for everywhere in ("0.0.0.0:6090", "[::]:6090"):
        made.listens(everywhere)
        assert list(made.locate(pb.LocateRequest()).addresses) == [f"{socket.gethostname()}:6090"]


class EverySecond(Balancer[Config]):
    """Places who comes at an even turn."""

    def assign(self, client: ClientView, servers: Sequence[ServerView]) -> ServerView | None:
        return servers[0] if client.turn % 2 == 0 else None


def test_each_request_has_its_turn() -> None:
    made = Placement("root", ["a:1"], EverySecond(), clients=lambda: 0, state=lambda: "live", **ALONE)
    placed = [bool(made.locate(pb.LocateRequest(name="a")).addresses) for _ in range(4)]
    assert placed == [True, False, True, False]
