from math import ceil, inf
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedk.api.balancer import ClientView, ServerView
from fedk.testing.balancer import BalancerSuite, placed
from fedk.testing.readme import key_table
from fedk_plugin_consistent_hash import ConsistentHash, ConsistentHashConfig

TEN = [f"s{number}" for number in range(10)]


class TestConsistentHash(BalancerSuite):
    @pytest.fixture
    def balancer(self) -> ConsistentHash:
        return ConsistentHash()

    def most(self, clients: int, servers: int) -> float:
        return ceil(1.25 * clients / servers)


class TestTightlyBounded(BalancerSuite):
    @pytest.fixture
    def balancer(self) -> ConsistentHash:
        return ConsistentHash(ConsistentHashConfig(c=1.01, points=8))

    def most(self, clients: int, servers: int) -> float:
        return ceil(1.01 * clients / servers)


class TestUnbounded(BalancerSuite):
    @pytest.fixture
    def balancer(self) -> ConsistentHash:
        return ConsistentHash(ConsistentHashConfig(c=inf))


def homes(c: float, servers: list[str], clients: int = 1000, points: int = 128) -> list[str]:
    """Where each client is placed, one coming after the other."""
    balancer, counts, found = ConsistentHash(ConsistentHashConfig(c=c, points=points)), dict.fromkeys(servers, 0), []
    for number in range(clients):
        views = [ServerView(name, clients=count) for name, count in counts.items()]
        chosen = balancer.assign(ClientView(f"c{number}", seed=number), views)
        assert chosen is not None
        counts[chosen.name] += 1
        found.append(chosen.name)
    return found


@settings(deadline=None)
@given(names=st.sets(st.text("abcxyz0123456789", min_size=1, max_size=6), min_size=2, max_size=8), data=st.data())
def test_without_a_bound_exactly_the_clients_of_the_server_that_leaves_move(
    names: set[str], data: st.DataObject
) -> None:
    servers = sorted(names)
    leaves = data.draw(st.sampled_from(servers))
    before = homes(inf, servers, 60)
    after = homes(inf, [one for one in servers if one != leaves], 60)
    assert {old for old, new in zip(before, after, strict=True) if old != new} <= {leaves}
    assert all(old != new for old, new in zip(before, after, strict=True) if old == leaves)


@pytest.mark.parametrize(
    ("c", "fullest", "moved"), [(1.05, 104, 230), (1.25, 114, 125), (1.5, 121, 104), (inf, 123, 100)]
)
def test_1000_clients_on_10_servers_are_as_even_and_move_as_the_readme_says(c: float, fullest: int, moved: int) -> None:
    before = homes(c, TEN)
    assert max(before.count(name) for name in TEN) == fullest <= (ceil(c * 100) if c < inf else 1000)
    moves = [
        sum(old != new for old, new in zip(before, homes(c, [one for one in TEN if one != leaves]), strict=True))
        for leaves in TEN
    ]
    assert round(sum(moves) / 10) == moved


def test_a_fifth_client_goes_on_where_four_make_it_too_many() -> None:
    servers = [ServerView("a", clients=3), ServerView("b", clients=1)]
    before_a = next(
        client
        for client in (ClientView(f"c{number}") for number in range(100))
        if ConsistentHash(ConsistentHashConfig(c=inf)).assign(client, servers) == servers[0]
    )
    assert ConsistentHash(ConsistentHashConfig(c=1.25)).assign(before_a, servers) == servers[0], "3 < 3.125"
    assert ConsistentHash(ConsistentHashConfig(c=1.1)).assign(before_a, servers) == servers[1], "3 > 2.75"


def test_a_client_that_reaches_only_a_server_beyond_the_bound_is_placed_there() -> None:
    far, near = ServerView("far", addresses=("far:1",)), ServerView("near", clients=50, addresses=("near:1",))
    assert ConsistentHash().assign(ClientView("c", unreachable=frozenset({"far:1"})), [far, near]) == near


def test_a_client_that_comes_back_to_an_equal_ring_is_placed_where_it_was() -> None:
    assert homes(1.25, TEN, 50) == homes(1.25, list(reversed(TEN)), 50)


def test_the_readme_has_the_table_of_keys() -> None:
    readme = Path(__file__).parents[1] / "README.md"
    assert key_table(ConsistentHashConfig) in readme.read_text("utf-8")


def test_a_bound_of_1_or_less_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than 1"):
        ConsistentHashConfig(c=1.0)
    assert max(placed(ConsistentHash(), [ServerView("a"), ServerView("b")], 2)) <= 2
