"""Root, combiners and clients on hosts of their own, whose cables are cut."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import unavailable
from tests.tier.cables import NAMES as SPACES
from tests.tier.cables import NAMESPACES, Cables, obstacle
from tests.tier.conftest import COUNTED, Tree, trained

CLIENTS = ("a", "b", "c", "d")
ROUNDS = 4
RULES = (
    f'model = "{COUNTED}"\nrounds = {ROUNDS}\n[clients]\nmin = {len(CLIENTS)}\ngrace = "10m"\n'
    '[round]\nquorum = 1.0\nreplace = false\ndeadline = "1h"\n'
)
OPEN = {"FEDK_SERVER__INSECURE": "true"}  # beyond loopback, on cables that nobody else has


class Cabled(Tree):
    """Servers reach each other over the switch `core`, clients reach servers over `edge`."""

    def __init__(self, folder: Path, ending: ExitStack, cables: Cables) -> None:
        self.cables = cables
        cables.host("root")
        self.within = cables.within("root")
        super().__init__(folder, ending, listen="0.0.0.0:6090", **self._advertised("root", 6090))
        for name in ("east", "west"):
            cables.host(name)
            more: dict[str, Any] = self._advertised(name, 6091)
            self.server.listen = f"{cables.address('root', 'core')}:6090"
            self.grow(name, listen="0.0.0.0:6091", within=cables.within(name), **more)
        cables.host("clients")
        root = f"{cables.address('root', 'edge')}:6090"
        os.mkfifo(folder / f"{CLIENTS[0]}.2")
        self.join(*CLIENTS, app=COUNTED, server=root, within=cables.within("clients"))
        self.session("s", RULES)

    def _advertised(self, name: str, port: int) -> dict[str, str]:
        return {"FEDK_SERVER__ADVERTISE": f'["{self.cables.address(name, "edge")}:{port}"]', **OPEN}

    def all_but_one_accepted(self) -> str:
        """Of the second round. The combiner of the one that trains until `go_on`."""
        while "round=2" not in self.server.until("round.open"):
            pass
        for _ in CLIENTS[1:]:
            self.server.until("update.accepted")
        return self.holder(CLIENTS[0])

    def go_on(self) -> None:
        (self.folder / f"{CLIENTS[0]}.2").write_text("")

    def finished(self) -> None:
        """Each client has trained each round once, and is in each model."""
        self.server.until("session.finished")
        self.once_each("s")
        assert {name: trained(self.folder, name) for name in CLIENTS} == {
            name: [*range(1, ROUNDS + 1)] for name in CLIENTS
        }
        assert self.rows("SELECT count(*) FROM contributions WHERE num_examples > 0") == [(len(CLIENTS) * ROUNDS,)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Cabled]:
    if why := obstacle():
        unavailable("namespaces", why)
    with Cables("core", "edge") as cables, ExitStack() as ending:
        yield Cabled(tmp_path / "0", ending, cables)


def test_a_combiner_without_its_root_for_3_s_of_a_round_keeps_what_comes(site: Cabled) -> None:
    combiner = site.all_but_one_accepted()
    site.cables.cut(combiner, "core")
    site.go_on()
    time.sleep(3)  # the fault itself: shorter than the 5 s after which either end misses the other
    site.cables.heal(combiner, "core")
    site.finished()


@pytest.mark.chaos
def test_a_combiner_that_the_root_has_missed_comes_back_with_what_it_holds(site: Cabled) -> None:
    combiner = site.all_but_one_accepted()
    site.cables.cut(combiner, "core")
    site.go_on()
    site.server.until("combiner.lost")
    site.cables.heal(combiner, "core")
    site.finished()


@pytest.mark.chaos
def test_clients_that_are_cut_off_from_their_combiner_come_to_the_other_one(site: Cabled) -> None:
    """The root still has the first one, and sums what that holds; clients say that they do not reach it."""
    combiner = site.all_but_one_accepted()
    site.cables.cut(combiner, "edge")
    site.go_on()
    site.finished()
    assert {site.holder(name) for name in CLIENTS} == {"east", "west"} - {combiner}
    now = {one["name"]: (one["state"], one["clients"]) for one in site.combiners_now()}
    assert now[combiner] == ("live", 0)


def test_no_namespace_is_left_behind_where_a_test_has_failed() -> None:
    if why := obstacle():
        unavailable("namespaces", why)

    def fail() -> None:
        with Cables("core") as cables:
            cables.host("root")
            raise RuntimeError("of the test")

    with pytest.raises(RuntimeError):
        fail()
    assert not list(NAMESPACES.glob(f"{SPACES}-{os.getpid()}-*"))
