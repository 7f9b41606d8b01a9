from math import log, log2
from pathlib import Path

import pytest

from fedk.api.balancer import ClientView, ServerView
from fedk.testing.balancer import BalancerSuite, placed
from fedk.testing.readme import key_table
from fedk_plugin_power_of_two import PowerOfTwo, PowerOfTwoConfig


def promised(clients: int, servers: int) -> float:
    """k/n + log₂ ln n + 4; with one server, or two, both are looked at."""
    return clients / servers + (log2(max(1.0, log(servers))) + 4 if servers > 2 else 1)


class TestPowerOfTwo(BalancerSuite):
    @pytest.fixture
    def balancer(self) -> PowerOfTwo:
        return PowerOfTwo()

    def most(self, clients: int, servers: int) -> float:
        return promised(clients, servers)


class TestOfThreeByLoad(BalancerSuite):
    @pytest.fixture
    def balancer(self) -> PowerOfTwo:
        return PowerOfTwo(PowerOfTwoConfig(choices=3, by="load"))

    def most(self, clients: int, servers: int) -> float:
        return promised(clients, servers)


@pytest.mark.parametrize(("servers", "fullest", "alone"), [(10, 101, 127), (100, 12, 22), (1000, 3, 8)])
def test_1000_clients_are_as_even_as_the_readme_says(servers: int, fullest: int, alone: int) -> None:
    assert max(_fullest(2, servers)) == fullest <= promised(1000, servers)
    assert max(_fullest(1, servers)) == alone > fullest


def test_seed_1_draws_two_of_three_and_takes_the_emptier() -> None:
    servers = [ServerView("a", clients=5), ServerView("b", clients=3), ServerView("c", clients=9)]
    assert PowerOfTwo().assign(ClientView("x", seed=1), servers) == servers[0]


def test_by_load_an_idle_server_with_many_clients_is_chosen_before_a_busy_one_with_few() -> None:
    idle, busy = ServerView("idle", clients=90, load=0.1), ServerView("busy", clients=1, load=0.9)
    assert PowerOfTwo(PowerOfTwoConfig(by="load")).assign(ClientView("c"), [busy, idle]) == idle
    assert PowerOfTwo().assign(ClientView("c"), [busy, idle]) == busy


def test_a_crowd_that_sees_old_counts_does_not_herd() -> None:
    """100 clients see the same counts: least-loaded would send all to one; a server is among two drawn in 20 of 100."""
    servers = [ServerView(f"s{number}", clients=number) for number in range(10)]
    chosen = [PowerOfTwo().assign(ClientView(f"c{seed}", seed=seed), servers) for seed in range(100)]
    assert max(chosen.count(server) for server in servers) <= 30


def _fullest(choices: int, servers: int) -> list[int]:
    balancer = PowerOfTwo(PowerOfTwoConfig(choices=choices))
    views = [ServerView(f"s{number:04}") for number in range(servers)]
    return [max(placed(balancer, list(views), 1000, f"{number}-")) for number in range(5)]


def test_the_readme_has_the_table_of_keys() -> None:
    readme = Path(__file__).parents[1] / "README.md"
    assert key_table(PowerOfTwoConfig) in readme.read_text("utf-8")
