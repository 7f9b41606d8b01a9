from pathlib import Path

import pytest

from fedk.api.balancer import ClientView, ServerView
from fedk.testing.balancer import BalancerSuite
from fedk.testing.readme import key_table
from fedk_plugin_least_loaded import LeastLoaded, LeastLoadedConfig

CLIENT = ClientView("c")


class TestByClients(BalancerSuite):
    spread = 1

    @pytest.fixture
    def balancer(self) -> LeastLoaded:
        return LeastLoaded()


class TestByLoad(BalancerSuite):
    spread = 1

    @pytest.fixture
    def balancer(self) -> LeastLoaded:
        return LeastLoaded(LeastLoadedConfig(by="load"))


def test_the_server_with_two_clients_is_chosen_before_the_one_with_three() -> None:
    two, three = ServerView("b", clients=2), ServerView("a", clients=3)
    assert LeastLoaded().assign(CLIENT, [three, two]) == two


def test_of_two_equal_servers_the_first_by_name_is_chosen() -> None:
    assert LeastLoaded().assign(CLIENT, [ServerView("b"), ServerView("a")]) == ServerView("a")


def test_by_load_an_idle_server_with_many_clients_is_chosen_before_a_busy_one_with_few() -> None:
    idle, busy = ServerView("idle", clients=90, load=0.1), ServerView("busy", clients=1, load=0.9)
    assert LeastLoaded(LeastLoadedConfig(by="load")).assign(CLIENT, [busy, idle]) == idle
    assert LeastLoaded().assign(CLIENT, [busy, idle]) == busy


def test_the_readme_has_the_table_of_keys() -> None:
    readme = Path(__file__).parents[1] / "README.md"
    assert key_table(LeastLoadedConfig) in readme.read_text("utf-8")
