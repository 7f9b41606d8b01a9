"""Deterministic sessions over combiners: which of them added up what, and who was killed meanwhile, is not seen in a bit."""

from collections.abc import Callable
from pathlib import Path

from tests.tier.conftest import Tree

SCALED = f"{Path(__file__).parent / 'scaled.py'}:app"
NAMES = ("a", "b", "c", "d", "e")


def begun(site: Tree, rounds: int) -> Tree:
    site.join(*NAMES, app=SCALED)
    rules = (
        f'model = "{SCALED}"\nrounds = {rounds}\ndeterministic = true\n'
        f'[clients]\nmin = {len(NAMES)}\ngrace = "10m"\n[round]\nquorum = 1.0\nreplace = false\ndeadline = "1h"\n'
    )
    site.session("s", rules)
    return site


def ended(site: Tree) -> list[str]:
    site.server.until("session.finished")
    return site.digests("s")


def test_no_tree_and_no_kill_is_seen_in_the_digests(tree: Callable[..., Tree]) -> None:
    """Of eight rounds; without `deterministic` two of them over two combiners are other models already."""
    flat = ended(begun(tree(role="standalone"), 8))
    killed = begun(tree("east", "west"), 8)
    killed.server.until("update.accepted")
    killed.restart_combiner("east")
    assert ended(killed) == flat
