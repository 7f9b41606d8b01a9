"""Which server serves a client."""

import socket
from collections.abc import Sequence
from typing import Any

from fedk.api.balancer import Balancer, ClientView, ServerView
from fedk.api.config import Config
from fedk.catalogue import Catalogue
from fedk.network.placement import Placement
from fedk_protocol.v1 import federation_pb2 as pb

BALANCER = Catalogue.scan().create("balancer", "least-loaded")


ALONE: Any = {"serves": True, "combiners": list, "ticket": lambda client, holder: f"{client} at {holder}"}


def placement(*advertise: str, state: str = "live") -> Placement:
    made = Placement("root", advertise, BALANCER, clients=lambda: 3, state=lambda: state, **ALONE)
    made.listens("127.0.0.1:6090")
    return made


def test_this_one_does() -> None:
    assert list(placement().locate(pb.LocateRequest(name="a")).addresses) == ["127.0.0.1:6090"]


def test_by_the_addresses_that_clients_can_reach() -> None:
    found = placement("fl.example.org:443", "10.0.0.1:6090").locate(pb.LocateRequest(name="a"))
    assert list(found.addresses) == ["fl.example.org:443", "10.0.0.1:6090"]


def test_a_client_that_cannot_reach_it_waits() -> None:
    found = placement().locate(pb.LocateRequest(name="a", unreachable=["127.0.0.1:6090"]))
    assert (list(found.addresses), found.wait) == ([], 5.0)


def test_a_server_that_drains_takes_nobody() -> None:
    assert placement(state="draining").locate(pb.LocateRequest(name="a")).wait == 5.0


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
