"""A whole session of 30 clients behind three combiners, of which one loses its disk and another is drained."""

import os
from collections.abc import Callable

import pytest
from tests.tier.conftest import COUNTED, Tree, trained

NAMES = tuple(f"c{n:02}" for n in range(30))
LAST = NAMES[0]
"""At work while its combiner dies, and while another is drained."""

ROUNDS = 10
RULES = (
    f'model = "{COUNTED}"\nrounds = {ROUNDS}\n[clients]\nmin = {len(NAMES)}\ngrace = "10m"\n'
    '[round]\nquorum = 1.0\nreplace = false\ndeadline = "1h"\n'
)


def all_but_one_accepted(site: Tree, round_: int) -> None:
    """The last one trains until its gate is opened."""
    while f"round={round_}" not in site.server.until("round.open"):
        pass
    for _ in NAMES[1:]:
        site.server.until("update.accepted")


@pytest.mark.chaos
def test_a_wiped_disk_and_a_drain_cost_no_client_a_training_and_no_result_its_verdict(
    tree: Callable[..., Tree],
) -> None:
    site = tree("north", "east", "south")
    for round_ in (3, 6):
        os.mkfifo(site.folder / f"{LAST}.{round_}")
    site.join(*NAMES, app=COUNTED)
    site.session("s", RULES)

    all_but_one_accepted(site, 3)
    before = {one["name"]: one for one in site.combiners_now()}
    assert {name: one["clients"] for name, one in before.items()} == dict.fromkeys(before, 10)
    assert sum(one["held"] for one in before.values()) == len(NAMES) - 1
    site.restart_combiner(site.holder(LAST), wiped=True)
    for _ in range(10):
        site.server.until("client.joined")  # elsewhere, or there again
    (site.folder / f"{LAST}.3").write_text("")

    all_but_one_accepted(site, 6)
    site.fedk("combiner", "drain", drained := site.holder(LAST))
    (site.folder / f"{LAST}.6").write_text("")
    site.server.until("session.finished")

    site.once_each("s")
    now = {one["name"]: (one["state"], one["held"]) for one in site.combiners_now()}
    assert now == {name: ("draining" if name == drained else "live", 0) for name in before}
    assert {name: trained(site.folder, name) for name in NAMES} == {name: [*range(1, ROUNDS + 1)] for name in NAMES}
    assert site.rows("SELECT verdict, count(*) FROM tasks WHERE kind = 'train' GROUP BY verdict") == [
        ("committed", len(NAMES) * ROUNDS)
    ]
    assert site.rows("SELECT count(*) FROM contributions WHERE num_examples > 0") == [(len(NAMES) * ROUNDS,)]
