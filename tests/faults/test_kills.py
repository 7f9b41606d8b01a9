"""Kill servers and clients at any instant: the trail is that of a run that nobody disturbed."""

import itertools
import random
import sqlite3
from collections.abc import Callable

import pytest
from tests.faults.conftest import SEEDED, Site

NAMES = ("a", "b", "c")
EVENTS = ("round.open", "update.accepted", "round.committed", "client.joined", "session.running")
"""After each of these a server is killed at least once."""

MakeSite = Callable[[], Site]
Figure = Callable[..., None]


def rules(rounds: int) -> str:
    """The equality profile: time cannot choose who is in a model."""
    return (
        f'model = "{SEEDED}"\nrounds = {rounds}\n[clients]\nmin = {len(NAMES)}\ngrace = "10m"\n'
        '[round]\nquorum = 1.0\nreplace = false\ndeadline = "1h"\n'
    )


def undisturbed(site: Site, rounds: int, weights: int) -> list[str]:
    site.join(*NAMES, CHAOS_WEIGHTS=str(weights))
    site.session("s", rules(rounds), CHAOS_WEIGHTS=str(weights))
    site.server.until("session.finished")
    return site.digests("s")


def disturbed(site: Site, rounds: int, weights: int, kills: int) -> list[str]:
    luck, victims = random.Random(weights), itertools.cycle(NAMES)
    site.join(*NAMES, CHAOS_WEIGHTS=str(weights))
    site.session("s", rules(rounds), CHAOS_WEIGHTS=str(weights))
    for number in range(kills):
        word = EVENTS[number] if number < len(EVENTS) - 1 else luck.choice(EVENTS[:3])
        for _ in range(luck.randint(1, 3)):
            line = site.server.until(word, "session.finished")
            assert "session.finished" not in line, f"over after {number} kills: more rounds"
        site.restart()
        site.kill(next(victims))
    site.server.until("session.finished")
    return site.digests("s")


def one_verdict_each(site: Site) -> int:
    """Rows of a server that has ended: every task has its verdict, none is in two models, none was asked twice."""
    site.server.stop()
    with sqlite3.connect(site.folder / "fedk-data" / "fedk.sqlite") as db:
        open_, receipts = db.execute("SELECT count(*) FROM tasks WHERE verdict IS NULL").fetchone()[0], 0
        twice = db.execute("SELECT task FROM contributions GROUP BY task HAVING count(*) > 1").fetchall()
        receipts = db.execute("SELECT count(*) FROM results").fetchone()[0]
        again = db.execute(
            "SELECT count(*) FROM tasks WHERE kind = 'train' GROUP BY session, client, asked_round HAVING count(*) > 1"
        ).fetchall()
    db.close()
    assert (open_, twice, again) == (0, [], [])
    return int(receipts)


def kill_and_compare(make: MakeSite, figure: Figure, *, rounds: int, weights: int, kills: int) -> Site:
    wanted = undisturbed(make(), rounds, weights)
    site = make()
    found = disturbed(site, rounds, weights, kills)
    assert found == wanted
    figure(
        weights=weights,
        rounds=rounds,
        **{f"kills_of_{k}": n for k, n in site.kills.items()},
        receipts=one_verdict_each(site),
    )
    return site


def test_small_models_survive_four_kills_of_server_and_clients(site: MakeSite, figure: Figure) -> None:
    killed = kill_and_compare(site, figure, rounds=40, weights=1_000, kills=4)
    assert killed.kills == {"server": 4, "clients": 4}


@pytest.mark.chaos
def test_chaos_small_inline_models(site: MakeSite, figure: Figure) -> None:
    killed = kill_and_compare(site, figure, rounds=150, weights=1_000, kills=35)
    assert killed.kills == {"server": 35, "clients": 35}


@pytest.mark.chaos
def test_chaos_large_uploaded_models(site: MakeSite, figure: Figure) -> None:
    killed = kill_and_compare(site, figure, rounds=60, weights=2_000_000, kills=20)
    assert killed.kills == {"server": 20, "clients": 20}
