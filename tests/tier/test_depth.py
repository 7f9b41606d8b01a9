"""Trees of two levels: combiners below combiners, and clients at each of the servers."""

from collections.abc import Callable

from tests.tier.conftest import Tree
from tests.tier.test_tier import rules

NAMES = tuple("abcdefgh")


def grown(tree: Callable[..., Tree]) -> Tree:
    """A root that serves clients itself, with two combiners that have two each: seven servers."""
    site = tree("east", "west", role="standalone")
    site.grow("east-a", "east-b", parent="east")
    site.grow("west-a", "west-b", parent="west")
    return site


def ended(site: Tree, *, rounds: int = 3, aggregator: str = "fedavg", more: str = "") -> list[str]:
    site.join(*NAMES)
    site.session("s", rules(rounds, aggregator, len(NAMES), more))
    site.server.until("session.finished")
    return site.digests("s")


def test_two_levels(tree: Callable[..., Tree]) -> None:
    flat = ended(tree(role="standalone"))
    deep = grown(tree)
    assert ended(deep) == flat
    deep.once_each("s")
