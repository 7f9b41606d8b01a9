"""A root and its combiners, with clients that are processes."""

from collections.abc import Callable

from tests.faults.conftest import SEEDED
from tests.tier.conftest import Tree

NAMES = ("a", "b", "c", "d")


def rules(rounds: int, aggregator: str = "fedavg", clients: int = len(NAMES), more: str = "") -> str:
    return (
        f'model = "{SEEDED}"\nrounds = {rounds}\n{more}\n[clients]\nmin = {clients}\ngrace = "10m"\n'
        f'[round]\nquorum = 1.0\nreplace = false\ndeadline = "1h"\n[aggregator]\nuse = "{aggregator}"\n'
    )


def test_a_session_over_two_combiners_makes_the_models_of_one_server(tree: Callable[..., Tree]) -> None:
    found = {}
    for names in ((), ("east", "west")):
        site = tree(*names, role="controller" if names else "standalone")
        site.join(*NAMES)
        site.session("s", rules(3))
        site.server.until("session.finished")
        found[names] = site.digests("s")
    assert found["east", "west"] == found[()]
