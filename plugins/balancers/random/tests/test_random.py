from math import log, sqrt

import pytest

from fedk.api.balancer import ClientView, ServerView
from fedk.testing.balancer import BalancerSuite, placed
from fedk_plugin_random import Random


def promised(clients: int, servers: int) -> float:
    """Bernstein: t²/(2(mean + t/3)) = ln(10⁹·n), solved for mean + t; the variance of one draw is below 1/n."""
    mean, odds = clients / servers, log(1e9 * servers)
    return mean + odds / 3 + sqrt(odds**2 / 9 + 2 * odds * mean)


class TestRandom(BalancerSuite):
    @pytest.fixture
    def balancer(self) -> Random:
        return Random()

    def most(self, clients: int, servers: int) -> float:
        return promised(clients, servers)


def test_the_bound_for_1000_clients_on_10_servers_is_176() -> None:
    assert round(promised(1000, 10)) == 176


def test_1000_clients_on_10_servers_are_127_at_most_over_100_sets_of_names() -> None:
    fullest = [max(placed(Random(), [ServerView(s) for s in "abcdefghij"], 1000, f"{n}-")) for n in range(100)]
    assert (min(fullest) > 100, max(fullest)) == (True, 127)


def test_each_of_two_servers_gets_its_share_of_10000_clients() -> None:
    first, second = placed(Random(), [ServerView("a"), ServerView("b")], 10_000)
    assert abs(first - second) < 500, "5 standard deviations of 100 clients"


def test_seeds_0_to_3_are_placed_as_the_readme_says() -> None:
    servers = [ServerView("a"), ServerView("b")]
    chosen = [Random().assign(ClientView("c", seed=seed), servers) for seed in range(4)]
    assert [one.name for one in chosen if one] == ["b", "a", "a", "a"]
