"""Kill servers and clients where time chooses who is in a model: each model is what its recorded updates make."""

import itertools
import json
import random
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Figure, environment
from tests.faults.conftest import MakeSite, Site
from tests.faults.rows import settled
from tests.faults.test_kills import kill_a_client, kill_the_server

SCALED = f"{Path(__file__).parents[1] / 'tier' / 'scaled.py'}:app"
NAMES = ("a", "b", "c", "d", "e")
EVERYWHERE = (
    f'model = "{SCALED}"\nvalidation.every = 0\nupdates.keep = "all"\n'
    '[clients]\nmin = 3\nfraction = 0.6\ngrace = "5s"\n'
    '[round]\nquorum = 0.5\nover_select = 1.5\nreplace = true\ndeadline = "4s"\nretries = 1000\n'
)
"""Of those present three in five are aimed at, half as many again are asked; whoever answers first is in the model."""
SYNC = f'{EVERYWHERE}[aggregator]\nuse = "fedadam"\n'
ASYNC = f'mode = "async"\nasync.buffer = 3\n{EVERYWHERE}[aggregator]\nuse = "fedbuff"\n'


def disturbed(site: Site, rules: str, *, rounds: int, weights: int, kills: int) -> None:
    luck, victims, env = random.Random(rounds), itertools.cycle(NAMES), {"CHAOS_WEIGHTS": str(weights)}
    site.session("s", f"rounds = {rounds}\n{rules}", **env)
    site.join(*NAMES, app=SCALED, **env)
    for number in range(kills):
        kill_a_client(site, luck, next(victims), number)
        kill_the_server(site, luck, number)
    site.server.until("session.finished")


def verified(site: Site, *where: str) -> tuple[int, Any]:
    """Exit code and document of `fedk model trail --verify`."""
    command = ["fedk", "model", "trail", "s", "--verify", "--json", *where]
    done = subprocess.run(command, cwd=site.folder, env=environment({}), capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def kill_and_replay(site: Site, figure: Figure, rules: str, *, rounds: int, kills: int, weights: int = 1_000) -> None:
    began = time.monotonic()
    disturbed(site, rules, rounds=rounds, weights=weights, kills=kills)
    seconds = time.monotonic() - began
    asked = verified(site, "--url", site.server.admin)
    receipts = settled(site)
    offline = verified(site, "--data-dir", "fedk-data")
    code, found = asked
    sets = {tuple(update["client"] for update in model["updates"]) for model in found["models"]}
    replayed = sum(check["verified"] == "replayed" for check in found["checks"])
    figure(
        weights=weights, rounds=rounds, **{f"kills_of_{k}": n for k, n in site.kills.items()}, receipts=receipts,
        sets_of_clients=len(sets), replayed=replayed, seconds=f"{seconds:.0f}",
    )  # fmt: skip
    assert [check for check in found["checks"] if not check["whole"]] == []
    assert (code, replayed) == (0, rounds)
    assert offline == asked
    assert len(sets) > 2  # the initial model's, and that of all who were asked
    assert min(site.kills.values()) >= kills


def test_models_of_a_quorum_are_what_their_updates_make_after_kills_of_server_and_clients(
    site: MakeSite, figure: Figure
) -> None:
    kill_and_replay(site(), figure, SYNC, rounds=60, kills=3)


@pytest.mark.chaos
@pytest.mark.timeout(900)  # a kill every two seconds, and what a busy machine makes of it
def test_chaos_models_of_a_quorum(site: MakeSite, figure: Figure) -> None:
    kill_and_replay(site(), figure, SYNC, rounds=250, kills=15)


@pytest.mark.chaos
@pytest.mark.timeout(900)  # as above
def test_chaos_models_of_a_quorum_that_travel_as_uploads(site: MakeSite, figure: Figure) -> None:
    kill_and_replay(site(), figure, SYNC, rounds=80, kills=10, weights=100_000)


@pytest.mark.chaos
@pytest.mark.timeout(900)  # as above
def test_chaos_async_models_of_whoever_came(site: MakeSite, figure: Figure) -> None:
    kill_and_replay(site(), figure, ASYNC, rounds=400, kills=15)


def test_one_flipped_byte_and_one_changed_weight_are_found(site: MakeSite) -> None:
    here = site()
    here.session("s", f"rounds = 3\n{ASYNC}", CHAOS_WEIGHTS="100")
    here.join(*NAMES, app=SCALED, CHAOS_WEIGHTS="100")
    here.server.until("session.finished")
    here.server.stop()
    with closing(sqlite3.connect(here.folder / "fedk-data" / "fedk.sqlite")) as db, db:
        query = "SELECT c.task, c.client_name, c.update_sha256 FROM contributions c JOIN models m ON m.id = c.model "
        changed, _, _ = db.execute(f"{query} WHERE m.round = 2 ORDER BY c.task").fetchone()
        db.execute("UPDATE results SET scale = scale * 1.0000001 WHERE task = ?", (changed,))
        _, client, sha256 = db.execute(f"{query} WHERE m.round = 3 ORDER BY c.task").fetchone()
    [path] = (here.folder / "fedk-data").rglob(sha256.hex())
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    code, found = verified(here, "--data-dir", "fedk-data")
    checks = [check["replay"] for check in found["checks"]]
    assert code == 1
    assert checks[:2] == ["", ""]
    assert checks[2].startswith("made again, w differs in ")
    assert checks[3].startswith(f"the update of {client}: blob {sha256.hex()} is damaged")
