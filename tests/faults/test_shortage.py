"""A disk that is full, a database that is locked, a storage that fails: sessions wait, say for what, and go on."""

import re
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from tests.conftest import Figure, unavailable
from tests.faults.conftest import MakeSite, Site
from tests.faults.rows import one_verdict_each

CLIENTS = 3
ROUNDS = 40
SOON = 30.0
"""Seconds in which a session goes on after its cause to wait is gone: clients come back by their own delays."""


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder of the first site's data directory is a disk of so much. Asked for before `site`, to end after it."""
    name, size = request.param
    folder = tmp_path / "0" / "fedk-data" / name
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        unavailable("mounts", "needs CAP_SYS_ADMIN to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all that is free."""
    ballast = folder / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast


def begin(site: Site, *, elements: int = 1_000, models: int = 3, **more: object) -> None:
    """A session with so many models, and far from its end."""
    site.crowd(CLIENTS, elements)
    rules = {"rounds": ROUNDS, "clients": {"min": CLIENTS, "grace": "10m"}, "round": {"replace": False}}
    site.rest("sessions", {"name": "s", **rules, **more})
    for _ in range(models):
        site.server.until("round.committed")


def reason(site: Site) -> str:
    """Why the session waits for a repair: in REST, and in the words of the command line.

    A disk that is full stops now the results and now the rows: what it waits for may be another thing a moment later.
    """
    before = repairs(site)
    shown = " ".join(site.fedk("session", "show", "s").split())
    waits = before + repairs(site)
    assert waits, site.rest("sessions/s")
    assert any(f"for repair: {why}" in shown for why in waits), (shown, waits)
    return waits[0]


def repairs(site: Site) -> list[str]:
    return [str(one["why"]) for one in site.rest("sessions/s")["waiting_for"] if one["for"] == "repair"]


def goes_on(site: Site) -> float:
    """Seconds until the next model; then the session is gone through to its end, and its rows are looked at."""
    began = time.monotonic()
    line = site.server.until("round.committed")
    seconds = time.monotonic() - began
    number = re.search(r"round=(\d+)", line)
    assert number is not None
    assert int(number[1]) < ROUNDS, "over before there was a shortage: more rounds"
    site.server.until("session.finished")
    assert not [one for one in site.rest("sessions/s")["waiting_for"] if one["for"] == "repair"]
    trail = site.rest("sessions/s/trail")["models"]
    assert [(model["round"], model["broken"]) for model in trail] == [(number, "") for number in range(ROUNDS + 1)]
    assert one_verdict_each(site) >= ROUNDS * CLIENTS
    return seconds


@pytest.mark.parametrize("small_disk", [("", "16m")], indirect=True)
def test_a_full_disk_is_what_the_session_waits_for_and_it_goes_on_when_there_is_space(
    small_disk: Path, site: MakeSite, figure: Figure
) -> None:
    here = site()
    begin(here)
    ballast = fill(small_disk)
    here.server.until("batch.failed", "spool.full", "session.paused")
    why = reason(here)
    ballast.unlink()
    seconds = goes_on(here)
    figure(full="data_dir", why=why.replace(str(here.folder), "…"), next_model_after=f"{seconds:.2f} s")
    assert re.search("full|[Nn]o space left", why)
    assert seconds < SOON


@pytest.mark.parametrize("small_disk", [("spool", "160k")], indirect=True)
def test_results_for_which_there_is_no_room_wait_at_their_clients_until_there_is(
    small_disk: Path, site: MakeSite, figure: Figure
) -> None:
    here = site()
    # the initial model; then three results of 64 kB are too many, which a median wants all of, and not at once
    begin(here, elements=16_000, models=1, aggregator={"use": "fedmedian"})
    for _ in range(2):  # alone each has room
        here.server.until("update.accepted")
    here.server.until("batch.failed")
    why = reason(here)
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    seconds = goes_on(here)
    figure(spool="160 KiB", results="3 × 64 kB", why=why.replace(str(here.folder), "…"),
           next_model_after=f"{seconds:.2f} s")  # fmt: skip
    assert "no space left for" in why
    assert seconds < SOON


@pytest.mark.parametrize("small_disk", [("blobs", "16m")], indirect=True)
def test_a_model_that_cannot_be_stored_pauses_its_session_which_says_why_and_goes_on_by_itself(
    small_disk: Path, site: MakeSite, figure: Figure
) -> None:
    here = site()
    begin(here)
    ballast = fill(small_disk)
    here.server.until("session.paused")
    why = reason(here)
    ballast.unlink()
    seconds = goes_on(here)
    figure(full="blobs", why=why.replace(str(here.folder), "…"), next_model_after=f"{seconds:.2f} s")
    assert re.search(r"model \d+ cannot be stored: .*No space left on device", why)


def test_a_locked_database_is_what_the_session_waits_for_and_it_goes_on_when_the_lock_is_gone(
    tmp_path: Path, site: MakeSite, figure: Figure
) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "fedk.toml").write_text('[db.sqlite]\nbusy_timeout = "1s"\n')
    here = site()
    begin(here)
    with closing(sqlite3.connect(here.folder / "fedk-data" / "fedk.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        here.server.until("batch.failed")
        why = reason(here)
        other.execute("ROLLBACK")
    seconds = goes_on(here)
    figure(busy_timeout="1 s", why=why.partition(": ")[2], next_model_after=f"{seconds:.2f} s")
    assert "database is locked" in why
    assert seconds < SOON
