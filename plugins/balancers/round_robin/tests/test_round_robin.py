import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedk.api.balancer import ClientView, ServerView
from fedk.testing.balancer import BalancerSuite, placed
from fedk_plugin_round_robin import RoundRobin


class TestRoundRobin(BalancerSuite):
    spread = 1

    @pytest.fixture
    def balancer(self) -> RoundRobin:
        return RoundRobin()


def test_seven_clients_take_turns_and_leave_out_a_full_server() -> None:
    servers = [ServerView("a"), ServerView("b", capacity=1), ServerView("c")]
    names = []
    for turn in range(7):
        chosen = RoundRobin().assign(ClientView(f"c{turn}", turn=turn), servers)
        assert chosen is not None
        names.append(chosen.name)
        servers = [ServerView(s.name, clients=s.clients + (s == chosen), capacity=s.capacity) for s in servers]
    assert names == ["a", "b", "a", "c", "a", "c", "a"]


@given(servers=st.integers(1, 8), capacity=st.integers(0, 20), clients=st.integers(0, 200))
def test_equal_capacities_differ_by_at_most_one_client_however_full_they_are(
    servers: int, capacity: int, clients: int
) -> None:
    counts = placed(RoundRobin(), [ServerView(f"s{number}", capacity=capacity) for number in range(servers)], clients)
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == min(clients, servers * capacity)
