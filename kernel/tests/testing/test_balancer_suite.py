"""The suite is proved on balancers that are wrong on purpose: each must fail the right test."""

from collections.abc import Callable, Sequence
from itertools import count

import pytest

from fedk.api.balancer import Balancer, ClientView, ServerView
from fedk.api.config import Config
from fedk.testing.balancer import BalancerSuite, is_open


class First(Balancer[Config]):
    """Right but for balance: the first open server by name."""

    def assign(self, client: ClientView, servers: Sequence[ServerView]) -> ServerView | None:
        return min(self.choices(client, servers), key=lambda one: one.name, default=None)

    def choices(self, client: ClientView, servers: Sequence[ServerView]) -> list[ServerView]:
        return [one for one in servers if is_open(one, client)]


class Overfull(First):
    def choices(self, client: ClientView, servers: Sequence[ServerView]) -> list[ServerView]:
        return [one for one in servers if one.state == "live" and not client.unreachable & {*one.addresses}]


class Undrained(First):
    def choices(self, client: ClientView, servers: Sequence[ServerView]) -> list[ServerView]:
        return [one for one in servers if one.capacity is None or one.clients < one.capacity]


class Picky(First):
    """Waits for an idle server, though others are open."""

    def choices(self, client: ClientView, servers: Sequence[ServerView]) -> list[ServerView]:
        return [one for one in super().choices(client, servers) if one.clients == 0]


class Invents(First):
    def assign(self, client: ClientView, servers: Sequence[ServerView]) -> ServerView | None:
        return ServerView("elsewhere")


class RemembersTurns(First):
    def __init__(self) -> None:
        super().__init__()
        self.turns = count()

    def assign(self, client: ClientView, servers: Sequence[ServerView]) -> ServerView | None:
        among = sorted(self.choices(client, servers), key=lambda one: one.name)
        return among[next(self.turns) % len(among)] if among else None


class TakesTheFirstListed(First):
    def assign(self, client: ClientView, servers: Sequence[ServerView]) -> ServerView | None:
        return next(iter(self.choices(client, servers)), None)


Test = Callable[[BalancerSuite, Balancer[Config]], None]


class Spread(BalancerSuite):
    spread = 1


@pytest.mark.parametrize(
    ("wrong", "test", "message"),
    [
        (Overfull, BalancerSuite.test_a_full_server_gets_nobody, "capacity"),
        (Undrained, BalancerSuite.test_a_draining_server_gets_nobody, "draining"),
        (Undrained, BalancerSuite.test_an_unreachable_server_gets_nobody, "cannot reach"),
        (Undrained, BalancerSuite.test_the_answer_is_one_of_the_servers_and_open, "is not open"),
        (Picky, BalancerSuite.test_nobody_waits_beside_an_open_server, "waits although"),
        (Invents, BalancerSuite.test_without_servers_the_client_waits, "None is the only answer"),
        (Invents, BalancerSuite.test_the_answer_is_one_of_the_servers_and_open, "none of the servers"),
        (RemembersTurns, BalancerSuite.test_equal_input_has_equal_answer, "another answer"),
        (TakesTheFirstListed, BalancerSuite.test_the_servers_order_does_not_matter, "order"),
        (Undrained, BalancerSuite.test_a_lost_server_gets_nobody, "is lost"),
        (
            Overfull,
            BalancerSuite.test_servers_are_filled_to_their_capacity_and_not_beyond,
            "more clients than capacity",
        ),
        (Picky, BalancerSuite.test_servers_are_filled_to_their_capacity_and_not_beyond, "although there is room"),
        (First, BalancerSuite.test_no_server_gets_more_than_the_balancer_promises, "is the promise"),
    ],
)
def test_a_wrong_balancer_fails_the_right_test_with_a_readable_message(
    wrong: type[Balancer[Config]], test: Test, message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        test(Spread(), wrong())


@pytest.mark.parametrize("name", [name for name in vars(BalancerSuite) if name.startswith("test_")])
def test_a_right_balancer_that_promises_no_balance_passes(name: str) -> None:
    test: Test = getattr(BalancerSuite, name)
    test(BalancerSuite(), First())
