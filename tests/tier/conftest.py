"""A root and combiners: each a process with a data directory of its own, on loopback."""

import itertools
import json
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.faults.conftest import SILENCE, Process, Site

COMBINER = {"FEDK_SERVER__ROLE": "combiner", "FEDK_LOG__LEVEL": "debug"}

COUNTED = f"{Path(__file__).parent / 'counted.py'}:app"


def trained(folder: Path, name: str) -> list[int]:
    """The rounds that a client of the counted app has written down."""
    return [int(line) for line in (folder / f"{name}.trained").read_text().split()]


class Combiner(Process):
    """`fedk server` in the role of a combiner."""

    def __init__(
        self,
        folder: Path,
        name: str,
        parent: str,
        listen: str = "127.0.0.1:0",
        *,
        within: Sequence[str] = (),
        **env: str,
    ) -> None:
        folder.mkdir(exist_ok=True)
        own = {
            "FEDK_SERVER__NAME": name,
            "FEDK_SERVER__PARENT": json.dumps([parent]),
            "FEDK_SERVER__LISTEN": listen,
            "FEDK_SERVER__ADMIN": "127.0.0.1:0",
        }
        super().__init__(["fedk", "server"], folder, within=within, **COMBINER, **own, **env)
        words = self.first.get(timeout=SILENCE).split()  # as SILENCE says
        assert "ready" in words or "ready," in words, "".join(self.heard)
        self.listen = words[words.index("clients") + 1]


class Tree(Site):
    """A root that clients are not served by, and its combiners."""

    def __init__(self, folder: Path, ending: ExitStack, role: str = "controller", **server: Any) -> None:
        self.role = role
        super().__init__(folder, ending, **server)
        self.combiners: dict[str, Combiner] = {}
        self.parents: dict[str, str] = {}

    def grow(self, *names: str, parent: str = "", **env: Any) -> None:
        """Combiners, under the root or under `parent`."""
        for name in names:
            self.parents[name] = parent
            self.combiners[name] = self._kept(Combiner(self.folder / name, name, self._above(name), **env))
            self.combiners[name].until("parent.attached")

    def _above(self, name: str) -> str:
        parent = self.parents[name]
        return self.combiners[parent].listen if parent else self.server.listen

    def restart_combiner(self, name: str, *, wiped: bool = False) -> None:
        """Killed; at the same address again, perhaps with an empty disk."""
        old = self.combiners[name]
        old.kill()
        if wiped:
            shutil.rmtree(self.folder / name / "fedk-data")
        self.combiners[name] = self._kept(Combiner(self.folder / name, name, self._above(name), old.listen))

    def invite(self, *names: str, app: str) -> None:
        """Clients of one process, without disks."""
        command = [sys.executable, str(Path(__file__).parent / "company.py"), app, self.server.listen, *names]
        self._kept(Process(command, self.folder))

    def combiners_now(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.fedk("combiner", "list", "--json"))
        return found

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Of the root's database."""
        with sqlite3.connect(f"file:{self.folder / 'fedk-data' / 'fedk.sqlite'}?mode=ro", uri=True) as db:
            found = db.execute(query).fetchall()
        db.close()
        return found

    def holder(self, client: str) -> str:
        """The name of the combiner that a client is connected to."""
        ((found,),) = self.rows(f"SELECT holder FROM clients WHERE name = '{client}'")  # noqa: S608  # of this test
        return str(found).partition(".")[0]

    def once_each(self, name: str) -> list[str]:
        """Every task has one verdict, no update is in two models, and nobody was asked twice in a round; the digests."""
        digests = self.digests(name)
        assert self.rows("SELECT count(*) FROM tasks WHERE verdict IS NULL") == [(0,)]
        assert self.rows("SELECT task FROM contributions GROUP BY task HAVING count(*) > 1") == []
        asked = (
            "SELECT client FROM tasks WHERE kind = 'train' GROUP BY session, client, asked_round HAVING count(*) > 1"
        )
        assert self.rows(asked) == []
        return digests


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Callable[..., Tree]]:
    """Any number of them; all processes end with the test."""
    with ExitStack() as ending:
        numbers = itertools.count()

        def make(*names: str, **more: Any) -> Tree:
            found = Tree(tmp_path / str(next(numbers)), ending, **more)
            found.grow(*names)
            return found

        yield make
