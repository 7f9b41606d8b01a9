"""Trees: a root that serves clients itself, combiners that do, and combiners below them. One tree has many sessions."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.tier.conftest import Combiner, Tree
from tests.tier.test_deterministic import SCALED

NAMES = tuple("abcdefghijkl")
MEANS, CHOICES = ("fedavg", "fedadam", "fedyogi"), ("krum", "fedmedian")
BELOW = {"east": ("east-a", "east-b"), "west": ("west-a", "west-b")}
EXACT = "deterministic = true"


def rules(rounds: int, aggregator: str = "fedavg", more: str = "") -> str:
    return (
        f'model = "{SCALED}"\nrounds = {rounds}\n{more}\n[clients]\nmin = {len(NAMES)}\ngrace = "10m"\n'
        f'[round]\nquorum = 1.0\nreplace = false\ndeadline = "1h"\n[aggregator]\nuse = "{aggregator}"\n'
    )


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Tree]]:
    """A root alone, one with three combiners, and one with two that have two each; each with twelve clients."""
    with ExitStack() as ending:
        found = {name: Tree(tmp_path_factory.mktemp(name), ending, "standalone") for name in ("flat", "wide", "deep")}
        found["wide"].grow("east", "north", "west")
        found["deep"].grow(*BELOW)
        for parent, names in BELOW.items():
            found["deep"].grow(*names, parent=parent)
        for site in found.values():
            site.invite(*NAMES, app=SCALED)
        yield found


def model(site: Tree, name: str) -> np.ndarray:
    site.fedk("model", "get", f"{name}/2", "-o", name)
    found: np.ndarray = load_file(site.folder / name)["w"]
    return found


def ended(site: Tree, name: str, text: str) -> list[str]:
    site.session(name, text)
    site.server.until("session.finished")
    return site.once_each(name)


@pytest.fixture(scope="module")
def undisturbed(trees: dict[str, Tree]) -> list[str]:
    """Digests of eight exact rounds of a root alone."""
    return ended(trees["flat"], "exact", rules(8, more=EXACT))


def test_means_are_the_same_to_float64_rounding_whatever_the_tree(trees: dict[str, Tree]) -> None:
    for aggregator in MEANS:
        for site in trees.values():
            ended(site, aggregator, rules(2, aggregator))
        flat, *others = [model(site, aggregator) for site in trees.values()]
        for other in others:
            np.testing.assert_allclose(other, flat, rtol=1e-12, atol=1e-10)


def test_what_cannot_be_summed_is_handed_up_as_it_came(trees: dict[str, Tree]) -> None:
    for aggregator in CHOICES:
        flat, *others = [ended(site, aggregator, rules(2, aggregator)) for site in trees.values()]
        assert others == [flat, flat]
    assert trees["deep"].rows(
        "SELECT count(*) FROM partials WHERE session IN (SELECT id FROM sessions WHERE name = 'krum')"
    ) == [(0,)]


def test_exact_sums_are_the_same_to_the_bit_and_the_trail_names_the_way(
    trees: dict[str, Tree], undisturbed: list[str]
) -> None:
    for site in (trees["wide"], trees["deep"]):
        assert ended(site, "exact", rules(3, more=EXACT)) == undisturbed[:4]
    ways = trees["deep"].rows("SELECT DISTINCT via FROM contributions WHERE num_examples > 0")
    named = {tuple(step.partition(".")[0] for step in via.split("/")) for (via,) in ways}
    known = {
        ("root",),
        *((parent,) for parent in BELOW),
        *((parent, name) for parent in BELOW for name in BELOW[parent]),
    }
    assert named <= known
    assert {len(way) for way in named} == {1, 2}
    assert ("root",) in named


def test_the_root_shows_who_is_below_whom(trees: dict[str, Tree]) -> None:
    found = {one["name"]: one for one in trees["deep"].combiners_now()}
    assert {name: one["parent"] for name, one in found.items()} == {
        **dict.fromkeys(BELOW, ""),
        **{name: parent for parent, names in BELOW.items() for name in names},
    }
    assert {one["state"] for one in found.values()} == {"live"}
    for parent, names in BELOW.items():
        assert found[parent]["clients"] >= sum(found[name]["clients"] for name in names)
    assert "  east-a" in trees["deep"].fedk("combiner", "list")


def test_a_leaf_and_a_combiner_in_the_middle_are_killed_in_a_round_and_nothing_shows(
    trees: dict[str, Tree], undisturbed: list[str]
) -> None:
    """One of each comes back with an empty disk: what was held there and below is delivered again, not trained again."""
    site = trees["deep"]
    site.session("killed", rules(8, more=EXACT))
    for name, wiped in (("east-a", False), ("east", True), ("west-b", True), ("west", False)):
        site.server.until("update.accepted")
        site.restart_combiner(name, wiped=wiped)
        site.server.until("round.committed")
    site.server.until("session.finished")
    assert site.once_each("killed") == undisturbed


def test_a_drain_of_a_combiner_below_another_loses_no_round(trees: dict[str, Tree], undisturbed: list[str]) -> None:
    site = trees["deep"]
    site.session("drained", rules(8, more=EXACT))
    site.server.until("update.accepted")
    assert "west-a is drained" in site.fedk("combiner", "drain", "west-a", "--wait")
    site.server.until("session.finished")
    assert site.once_each("drained") == undisturbed
    west = next(one for one in site.combiners_now() if one["name"] == "west-a")
    assert (west["state"], west["clients"], west["held"]) == ("draining", 0, 0)


def test_clients_that_cannot_reach_a_combiner_below_are_served_above_it(tree: Callable[..., Tree]) -> None:
    """The root hears of it, and tells the one that had sent them there."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        nowhere = "{}:{}".format(*closed.getsockname())
        site = tree("west")
        site.grow("a", parent="west", FEDK_SERVER__ADVERTISE=f'["{nowhere}"]')
        site.invite("one", "two", app=SCALED)
        site.session("s", rules(1).replace(f"min = {len(NAMES)}", "min = 2"))
        site.server.until("session.finished")
        ways = site.rows("SELECT DISTINCT via FROM contributions WHERE num_examples > 0")
        assert [(via.partition(".")[0], "/" in via) for (via,) in ways] == [("west", False)]


def test_a_ring_of_combiners_takes_nobody_in(tree: Callable[..., Tree]) -> None:
    """A combiner is a parent while it has a way to the root itself: one whose parent is itself never has."""
    site = tree()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = "{}:{}".format(*free.getsockname())
    with ExitStack() as ending:
        (site.folder / "ring").mkdir()
        ring = Combiner(site.folder / "ring", "ring", address, address)
        ending.callback(ring.kill)
        assert "has no stream to its own parent" in ring.until("parent.lost", "parent.attached")
