"""Any server of a tree of three levels is killed at any time, some come back with an empty disk: nothing shows."""

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest
from tests.tier.conftest import Tree
from tests.tier.test_depth import EXACT, NAMES, rules
from tests.tier.test_deterministic import SCALED

SESSIONS, KILLS = 4, 4
BELOW = {"": ("east", "west"), "east": ("ea", "eb"), "west": ("wa", "wb"), "ea": ("eax",)}
KILLED = ("root", *(name for names in BELOW.values() for name in names), "ea", "eax")  # the longest branch most


def kill(site: Tree, luck: random.Random) -> None:
    name = luck.choice(KILLED)
    if name == "root":
        site.restart()
    else:
        site.restart_combiner(name, wiped=luck.random() < 0.4)  # often enough, and not most


def goes_on(site: Tree, name: str) -> bool:
    return bool(site.rest(f"sessions/{name}")["status"] != "finished")


def left(site: Tree, name: str) -> tuple[int, int]:
    """Results and sums that a combiner still keeps."""
    file = site.folder / name / "fedk-data" / "fedk.sqlite"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        (found,) = db.execute("SELECT (SELECT count(*) FROM reports), (SELECT count(*) FROM partials)").fetchall()
        return found[0], found[1]


@pytest.mark.chaos
@pytest.mark.parametrize("text", [rules(8, more=EXACT), rules(6, "krum")], ids=["summed", "forwarded"])
def test_kills_anywhere_in_a_tree_are_not_seen_in_the_digests(tree: Callable[..., Tree], text: str) -> None:
    luck, flat, deep = random.Random(7), tree(role="standalone"), tree()
    for parent, names in BELOW.items():
        deep.grow(*names, parent=parent)
    for site in (flat, deep):
        site.invite(*NAMES, app=SCALED)
    flat.session("s0", text)
    flat.server.until("session.finished")
    calm = flat.once_each("s0")
    for n in range(SESSIONS):
        deep.server.forget()
        deep.session(f"s{n}", text)
        for _ in range(KILLS):
            if goes_on(deep, f"s{n}"):
                updates = luck.randint(1, len(NAMES))
                while updates and "session.finished" not in deep.server.until("update.accepted", "session.finished"):
                    updates -= 1
                kill(deep, luck)
        while goes_on(deep, f"s{n}"):
            deep.server.until("session.finished", "round.committed")
        assert deep.once_each(f"s{n}") == calm
    assert {name: left(deep, name) for name in deep.combiners} == dict.fromkeys(deep.combiners, (0, 0))
