"""What every balancer must do. Subclass `BalancerSuite`, override the fixture `balancer`, and run it with pytest.

class TestLeastLoaded(BalancerSuite):
    spread = 1

    @pytest.fixture
    def balancer(self) -> LeastLoaded:
        return LeastLoaded()
"""

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from random import Random
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedk.api.balancer import Balancer, ClientView, ServerView
from fedk.testing.suite import Suite, since

ADDRESS = "{}.example.org:6090"

# derandomized: who runs the suite twice wants the same answer; executors: each subclass is one
DRAWN = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.function_scoped_fixture],
)


@since("1.0")
class BalancerSuite(Suite):
    """The contract of `fedk.api.balancer`, on worlds drawn from a seed and on a few made by hand."""

    spread: ClassVar[int | None] = None
    """Most by which the clients of two equal servers may differ; None where a formula promises no such thing."""
    particular: ClassVar[bool] = False
    """Whether a client may have to wait beside an open server, for one that suits it better."""

    def most(self, clients: int, servers: int) -> float:
        """The most that one of so many equal servers has after so many placements, as the README states it."""
        return clients if self.spread is None else clients / servers + self.spread

    @pytest.fixture
    def balancer(self) -> Balancer[Any]:
        raise NotImplementedError("override the fixture `balancer`: return your driver")

    def test_one_open_server_is_taken(self, balancer: Balancer[Any]) -> None:
        only = server("a")
        assert balancer.assign(ClientView("c"), [only]) == only, "one open server, and it was not taken"

    def test_without_servers_the_client_waits(self, balancer: Balancer[Any]) -> None:
        assert balancer.assign(ClientView("c"), []) is None, "there is no server: None is the only answer"

    def test_a_full_server_gets_nobody(self, balancer: Balancer[Any]) -> None:
        full = server("full", clients=3, capacity=3)
        assert balancer.assign(ClientView("c"), [full]) is None, "a server at its capacity was given one more client"
        assert balancer.assign(ClientView("c"), [replace(full, capacity=0, clients=0)]) is None, "capacity 0 is full"

    def test_a_draining_server_gets_nobody(self, balancer: Balancer[Any]) -> None:
        draining = server("draining", state="draining")
        assert balancer.assign(ClientView("c"), [draining]) is None, "a draining server was given a client"

    def test_a_lost_server_gets_nobody(self, balancer: Balancer[Any]) -> None:
        lost = server("lost", state="lost")
        assert balancer.assign(ClientView("c"), [lost]) is None, "a server that is lost was given a client"

    def test_an_unreachable_server_gets_nobody(self, balancer: Balancer[Any]) -> None:
        far = server("far")
        client = ClientView("c", unreachable=frozenset(far.addresses))
        assert balancer.assign(client, [far]) is None, "the client said that it cannot reach this address"

    def test_one_reachable_address_is_enough(self, balancer: Balancer[Any]) -> None:
        two = replace(server("a"), addresses=("inside:6090", "outside:6090"))
        client = ClientView("c", unreachable=frozenset({"inside:6090"}))
        assert balancer.assign(client, [two]) == two, "one of its two addresses was reachable"

    def test_the_answer_is_one_of_the_servers_and_open(self, balancer: Balancer[Any]) -> None:
        for client, servers in worlds():
            chosen = balancer.assign(client, servers)
            assert chosen is None or chosen in servers, f"{chosen} is none of the servers that were offered"
            assert chosen is None or is_open(chosen, client), f"{chosen} is not open to {client}"

    def test_nobody_waits_beside_an_open_server(self, balancer: Balancer[Any]) -> None:
        if self.particular:
            pytest.skip("declares itself `particular`")
        for client, servers in worlds():
            chosen = balancer.assign(client, servers)
            idle = [one.name for one in servers if is_open(one, client)]
            assert chosen is not None or not idle, f"the client waits although {idle} are open to it"

    def test_equal_input_has_equal_answer(self, balancer: Balancer[Any]) -> None:
        for client, servers in worlds():
            first = balancer.assign(client, servers)
            again = balancer.assign(*pickle.loads(pickle.dumps((client, servers))))  # noqa: S301  # our own, copied
            assert first == again, "the same client and servers, another answer: randomness is only `client.seed`"

    def test_the_servers_order_does_not_matter(self, balancer: Balancer[Any]) -> None:
        for client, servers in worlds():
            turned = list(reversed(servers))
            assert balancer.assign(client, servers) == balancer.assign(client, turned), "the order changed the answer"

    def test_the_input_stays_as_it_was(self, balancer: Balancer[Any]) -> None:
        for client, servers in worlds():
            given = list(servers)
            balancer.assign(client, given)
            assert given == list(servers), "the list of servers was changed"

    @DRAWN
    @given(clients=st.integers(0, 300), servers=st.integers(1, 12), name=st.text("abcdef-", max_size=8))
    def test_no_server_gets_more_than_the_balancer_promises(
        self, balancer: Balancer[Any], clients: int, servers: int, name: str
    ) -> None:
        counts = placed(balancer, [server(f"s{number}") for number in range(servers)], clients, name)
        most, apart = self.most(clients, servers), max(counts) - min(counts)
        assert sum(counts) == clients, f"{clients} clients, every server open to all, and only {sum(counts)} are placed"
        assert max(counts) <= most, f"{clients} clients on equal servers: {counts}; at most {most:g} is the promise"
        assert self.spread is None or apart <= self.spread, f"{counts}: `spread` is the promise"

    @DRAWN
    @given(capacities=st.lists(st.integers(0, 12), min_size=1, max_size=6), more=st.integers(0, 10))
    def test_servers_are_filled_to_their_capacity_and_not_beyond(
        self, balancer: Balancer[Any], capacities: list[int], more: int
    ) -> None:
        servers = [server(f"s{number}", capacity=capacity) for number, capacity in enumerate(capacities)]
        counts = placed(balancer, servers, sum(capacities) + more)
        over = [(has, may) for has, may in zip(counts, capacities, strict=True) if has > may]
        assert not over, f"more clients than capacity: {over}"
        assert self.particular or counts == capacities, f"clients wait although there is room: {counts} of {capacities}"


def server(name: str, *, clients: int = 0, capacity: int | None = None, state: str = "live") -> ServerView:
    """A server with one address."""
    return ServerView(name, clients=clients, capacity=capacity, state=state, addresses=(ADDRESS.format(name),))


def is_open(one: ServerView, client: ClientView) -> bool:
    """Whether the contract lets it take this client."""
    below = one.capacity is None or one.clients < one.capacity
    return one.state == "live" and below and (not one.addresses or bool(set(one.addresses) - client.unreachable))


def placed(balancer: Balancer[Any], servers: list[ServerView], clients: int, name: str = "c") -> list[int]:
    """The servers' numbers of clients, after one client came after the other as clients of a real server do."""
    for turn in range(clients):
        seed = int.from_bytes(sha256(f"{name}{turn}".encode()).digest()[:8])
        chosen = balancer.assign(ClientView(f"{name}{turn}", seed=seed, turn=turn), servers)
        if chosen is not None:
            index = servers.index(chosen)
            servers[index] = replace(chosen, clients=chosen.clients + 1)
    return [one.clients for one in servers]


def worlds(count: int = 200) -> Iterator[tuple[ClientView, Sequence[ServerView]]]:
    """Clients and servers of every kind, the same in each run."""
    for seed in range(count):
        random = Random(seed)  # noqa: S311  # test data
        servers = [_drawn(random, f"s{number}") for number in range(random.randrange(7))]
        unreachable = frozenset(address for one in servers for address in one.addresses if random.random() < 0.3)
        latency = {one.name: random.random() / 10 for one in servers}
        attributes = {"site": random.choice(["north", "south"])}
        yield ClientView(f"c{seed}", attributes, unreachable, latency, random.randrange(2**32), seed), tuple(servers)


def _drawn(random: Random, name: str) -> ServerView:
    return ServerView(
        name,
        attributes={"site": random.choice(["north", "south"])},
        clients=random.randrange(5),
        capacity=random.choice([None, 0, 2, 4, 100]),
        load=random.random(),
        state=random.choice(["live", "live", "live", "draining", "lost"]),
        root=name == "s0",
        addresses=tuple(ADDRESS.format(f"{name}-{number}") for number in range(random.randrange(3))),
    )
