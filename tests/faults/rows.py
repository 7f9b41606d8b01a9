"""What the rows say after all that has happened: asked of a database whose server has ended."""

import sqlite3
from contextlib import closing
from typing import Any

from tests.faults.conftest import Site


def one_verdict_each(site: Site) -> int:
    """As `settled`, and no client was asked twice in a round. How many receipts."""
    found = settled(site)
    again = _ask(
        site,
        "SELECT session, client, asked_round FROM tasks WHERE kind = 'train' "
        "GROUP BY session, client, asked_round HAVING count(*) > 1",
    )
    assert again == []
    return found


def settled(site: Site) -> int:
    """Every task has its verdict, none is in two models. How many receipts there were. The server ends."""
    site.server.stop()
    open_ = _ask(site, "SELECT id FROM tasks WHERE verdict IS NULL")
    twice = _ask(site, "SELECT task FROM contributions GROUP BY task HAVING count(*) > 1")
    unsettled = _ask(site, "SELECT task FROM results WHERE task NOT IN (SELECT id FROM tasks)")
    assert (open_, twice, unsettled) == ([], [], [])
    return int(_ask(site, "SELECT count(*) FROM results")[0][0])


def receipts(site: Site) -> set[str]:
    """The tasks whose results have one; the server may have been killed."""
    return {task for (task,) in _ask(site, "SELECT task FROM results")}


def _ask(site: Site, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(site.folder / "fedk-data" / "fedk.sqlite")) as db:
        return db.execute(query).fetchall()
