from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedk.api.balancer import ClientView, ServerView
from fedk.testing.balancer import BalancerSuite
from fedk.testing.readme import key_table
from fedk_plugin_locality import Locality, LocalityConfig

NORTH = ClientView("c", {"region": "north"})
N1 = ServerView("n1", {"region": "north"}, clients=40)
N2 = ServerView("n2", {"region": "north"}, clients=12)
S1 = ServerView("s1", {"region": "south"}, clients=3)


class TestLocality(BalancerSuite):
    spread = 1

    @pytest.fixture
    def balancer(self) -> Locality:
        return Locality(LocalityConfig(attribute="site"))


class TestNearest(BalancerSuite):
    spread = 1

    @pytest.fixture
    def balancer(self) -> Locality:
        return Locality(LocalityConfig(attribute="site", fallback="nearest"))


def test_a_client_of_north_goes_to_the_emptier_server_of_north_though_south_is_emptier_still() -> None:
    assert Locality().assign(NORTH, [N1, N2, S1]) == N2


def test_where_north_is_full_it_goes_to_the_emptiest_of_the_rest() -> None:
    full = [replace(one, capacity=one.clients) for one in (N1, N2)]
    assert Locality().assign(NORTH, [*full, S1]) == S1


def test_where_north_is_full_and_fallback_is_wait_it_waits() -> None:
    full = [replace(one, capacity=one.clients) for one in (N1, N2)]
    assert Locality(LocalityConfig(fallback="wait")).assign(NORTH, [*full, S1]) is None


def test_a_client_that_says_no_place_falls_back_and_never_matches_a_server_that_says_none() -> None:
    nowhere = ServerView("z", clients=9)
    assert Locality().assign(ClientView("c"), [N1, nowhere]) == nowhere
    assert Locality(LocalityConfig(fallback="wait")).assign(ClientView("c"), [N1, nowhere]) is None


def test_nearest_takes_the_server_that_answered_in_10_ms_before_one_in_30_and_one_not_measured() -> None:
    client = ClientView("c", latency={"n1": 0.03, "n2": 0.01})
    assert Locality(LocalityConfig(fallback="nearest")).assign(client, [N1, N2, S1]) == N2


def test_the_servers_attribute_may_have_another_name() -> None:
    here, there = ServerView("here", {"zone": "north"}, clients=5), ServerView("there", {"zone": "south"})
    assert Locality(LocalityConfig(server_attribute="zone")).assign(NORTH, [here, there]) == here


@given(st.lists(st.sampled_from(["north", "south", "east"]), max_size=120))
def test_servers_of_one_place_differ_by_at_most_one_and_nobody_is_placed_elsewhere(places: list[str]) -> None:
    servers = {
        f"{place[0]}{n}": ServerView(f"{place[0]}{n}", {"region": place})
        for place in ("north", "south")
        for n in (1, 2, 3)
    }
    balancer = Locality(LocalityConfig(fallback="wait"))
    for number, place in enumerate(places):
        chosen = balancer.assign(ClientView(f"c{number}", {"region": place}), list(servers.values()))
        assert (chosen is None) == (place == "east")
        if chosen is not None:
            assert chosen.attributes["region"] == place
            servers[chosen.name] = replace(chosen, clients=chosen.clients + 1)
    for place in ("north", "south"):
        counts = [one.clients for one in servers.values() if one.attributes["region"] == place]
        assert max(counts) - min(counts) <= 1
        assert sum(counts) == places.count(place)


def test_the_readme_has_the_table_of_keys() -> None:
    readme = Path(__file__).parents[1] / "README.md"
    assert key_table(LocalityConfig) in readme.read_text("utf-8")
