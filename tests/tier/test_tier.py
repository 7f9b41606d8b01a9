"""A root and its combiners, with clients that are processes."""

import json
import os
import socket
from collections.abc import Callable

import pytest
from tests.faults.conftest import SEEDED
from tests.tier.conftest import COUNTED, Tree, trained

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


def test_every_update_went_through_a_combiner_and_the_trail_names_it(tree: Callable[..., Tree]) -> None:
    site = tree("east", "west")
    site.join(*NAMES)
    site.session("s", rules(2))
    site.server.until("session.finished")
    assert {one["name"]: one["state"] for one in site.combiners_now()} == {"east": "live", "west": "live"}
    via = site.rows("SELECT via, count(*) FROM contributions WHERE num_examples > 0 GROUP BY via")
    assert {holder.partition(".")[0]: count for holder, count in via} == {"east": 4, "west": 4}
    assert site.rows("SELECT count(*) FROM partials") == [(4,)]  # two combiners, two rounds


def test_what_combiners_handed_on_is_made_again_and_what_they_summed_is_named(tree: Callable[..., Tree]) -> None:
    site = tree("east", "west")
    site.join(*NAMES)
    found = {}
    for name, aggregator in (("handed", "fedmedian"), ("summed", "fedavg")):
        site.session(name, rules(2, aggregator, more='updates.keep = "all"'))
        site.server.until("session.finished")
        found[name] = json.loads(site.fedk("model", "trail", name, "--verify", "--json"))["checks"][1:]
    assert [check["verified"] for check in found["handed"]] == ["replayed"] * 2
    assert [check["verified"] for check in found["summed"]] == ["hash"] * 2
    said = "4 of 4 updates were summed elsewhere, 2 by combiner east, 2 by combiner west"
    assert {check["not_replayed"] for check in found["summed"]} == {said}


@pytest.mark.parametrize(
    "aggregator", ["fedyogi", *(pytest.param(name, marks=pytest.mark.chaos) for name in ("fedmedian", "fedbuff"))]
)
def test_other_aggregators_make_the_same_models_over_combiners(tree: Callable[..., Tree], aggregator: str) -> None:
    found = []
    for names in ((), ("east", "west")):
        site = tree(*names, role="controller" if names else "standalone")
        site.join(*NAMES)
        site.session("s", rules(2, aggregator))
        site.server.until("session.finished")
        found.append(site.digests("s"))
    assert found[0] == found[1]


@pytest.mark.chaos
def test_a_combiner_that_is_killed_in_a_round_goes_on_from_its_spool(tree: Callable[..., Tree]) -> None:
    site = tree("east", "west")
    site.join(*NAMES)
    site.session("s", rules(6))
    for _ in range(3):
        site.server.until("update.accepted")
    site.restart_combiner("east")
    site.server.until("session.finished")
    site.once_each("s")


@pytest.mark.chaos
def test_what_a_wiped_disk_held_is_delivered_again_and_not_trained_again(tree: Callable[..., Tree]) -> None:
    site = tree("east", "west")
    site.join(*NAMES)
    site.session("s", rules(6))
    for _ in range(3):
        site.server.until("update.accepted")
    site.restart_combiner("east", wiped=True)
    site.server.until("session.finished")
    site.once_each("s")


def test_a_root_that_is_killed_finds_its_combiners_with_what_they_hold(tree: Callable[..., Tree]) -> None:
    site = tree("east", "west")
    site.join(*NAMES)
    site.session("s", rules(6))
    for _ in range(3):
        site.server.until("update.accepted")
    site.restart()
    site.server.until("session.finished")
    site.once_each("s")


def test_a_client_at_work_goes_on_at_another_combiner(tree: Callable[..., Tree]) -> None:
    """And is not asked again: each of the four trains each round once."""
    site = tree("east", "west")
    os.mkfifo(site.folder / "a.2")
    site.join(*NAMES, app=COUNTED)
    site.session("s", f'model = "{COUNTED}"\n' + rules(3).partition("\n")[2])
    while "round=2" not in site.server.until("update.accepted"):
        pass
    site.combiners[site.holder("a")].kill()
    site.server.until("client.lost")
    (site.folder / "a.2").write_text("")
    site.server.until("session.finished")
    site.once_each("s")
    assert {name: trained(site.folder, name) for name in NAMES} == {name: [1, 2, 3] for name in NAMES}


def test_a_combiner_that_joins_takes_its_share_of_the_roots_own_clients_when_that_is_asked(
    tree: Callable[..., Tree],
) -> None:
    """In the middle of a round, in which nobody trains twice."""
    site = tree(role="standalone")
    os.mkfifo(site.folder / "a.2")
    site.join(*NAMES, app=COUNTED)
    site.session("s", f'model = "{COUNTED}"\n' + rules(3).partition("\n")[2])
    while "round=2" not in site.server.until("update.accepted"):
        pass
    site.grow("east")
    moved = json.loads(site.fedk("combiner", "rebalance", "--json"))["moved"]
    (site.folder / "a.2").write_text("")
    site.server.until("session.finished")
    site.once_each("s")
    assert moved == len(NAMES) // 2
    assert [one["clients"] for one in site.combiners_now()] == [moved]
    assert {name: trained(site.folder, name) for name in NAMES} == {name: [1, 2, 3] for name in NAMES}


def test_a_drain_moves_clients_and_what_is_held_without_losing_the_round(tree: Callable[..., Tree]) -> None:
    site = tree("east", "west")
    site.join(*NAMES)
    site.session("s", rules(20))
    site.server.until("round.committed")
    site.fedk("combiner", "drain", "east", "--wait")
    site.server.until("session.finished")
    east, west = site.combiners_now()
    assert (east["state"], east["clients"], east["held"], west["clients"]) == ("draining", 0, 0, len(NAMES))
    site.once_each("s")


def test_clients_of_a_combiner_that_cannot_be_reached_go_elsewhere_or_to_the_root(tree: Callable[..., Tree]) -> None:
    """The root serves clients that reach no combiner, whatever its role; a second one has them otherwise."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nowhere = f"127.0.0.1:{taken.getsockname()[1]}"
    found = {}
    for names in ((), ("west",)):
        site = tree()
        site.grow("east", FEDK_SERVER__ADVERTISE=f'["{nowhere}"]')
        site.grow(*names)
        site.join(*NAMES)
        site.session("s", rules(2))
        site.server.until("session.finished")
        site.once_each("s")
        via = "SELECT DISTINCT via FROM contributions WHERE num_examples > 0"
        found[names] = [holder.partition(".")[0] for (holder,) in site.rows(via)]
    assert found == {(): ["root"], ("west",): ["west"]}
