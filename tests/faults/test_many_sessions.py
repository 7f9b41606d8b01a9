"""Many sessions at once on one server: all get their turn, and those that wait cost next to nothing."""

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.conftest import Figure
from tests.faults.conftest import MakeSite, Process, Site

STUCK = f"{Path(__file__).parent / 'stuck.py'}:app"
ACCUMULATOR = 8  # bytes for each element of the model


def begin(site: Site, number: int, rounds: int, clients: int, model: str | None = None) -> None:
    """A session that waits until there are so many clients."""
    named: dict[str, Any] = {} if model is None else {"model": model}
    rules = {"rounds": rounds, "seed": number, "clients": {"min": clients}}
    site.rest("sessions", {"name": f"s{number:03}", **rules, **named})


def courses(server: Process, sessions: int) -> tuple[list[tuple[str, int]], dict[str, float]]:
    """Commits in their order, and when each session finished, once all have."""
    commits: list[tuple[str, int]] = []
    ended: dict[str, float] = {}
    while len(ended) < sessions:
        line = server.until("round.committed", "session.finished", "session.failed")
        name = re.search(r"session=(\S+)", line)
        assert name is not None, line
        if "round.committed" in line:
            number = re.search(r"round=(\d+)", line)
            assert number is not None, line
            commits.append((name[1], int(number[1])))
        else:
            assert "session.finished" in line, line
            ended[name[1]] = time.monotonic()
    return commits, ended


def widest_lead(commits: list[tuple[str, int]]) -> int:
    """Rounds between the session that is ahead and the one that is behind, at its widest."""
    at = dict.fromkeys({name for name, _ in commits}, 0)
    leads = []
    for name, number in commits:
        at[name] = number
        leads.append(max(at.values()) - min(at.values()))
    return max(leads)


def share_the_clients(make: MakeSite, figure: Figure, *, rounds: int, sessions: int = 20, clients: int = 20) -> None:
    site = make()
    for number in range(sessions):
        begin(site, number, rounds, clients)
    began = time.monotonic()
    site.crowd(clients)
    commits, ended = courses(site.server, sessions)
    seconds = max(ended.values()) - began
    spread, lead = max(ended.values()) - min(ended.values()), widest_lead(commits)
    figure(
        sessions=sessions, clients=clients, rounds=rounds, seconds=f"{seconds:.1f}", first_to_last=f"{spread:.2f} s",
        widest_lead=f"{lead} rounds", tasks_a_second=round(sessions * clients * rounds / seconds),
    )  # fmt: skip
    assert sum(number > 0 for _, number in commits) == sessions * rounds
    assert lead <= 2
    assert spread < seconds / 3


def test_20_sessions_over_20_clients_finish_together(site: MakeSite, figure: Figure) -> None:
    share_the_clients(site, figure, rounds=3)


@pytest.mark.chaos
def test_chaos_20_sessions_over_20_clients_finish_together_after_50_rounds(site: MakeSite, figure: Figure) -> None:
    share_the_clients(site, figure, rounds=50)


def first_model(site: Site, elements: int) -> str:
    """The id of a model of zeros."""
    file = site.folder / "model.safetensors"
    save_file({"w": np.zeros(elements, np.float32)}, file)
    return str(json.loads(site.fedk("model", "put", str(file), "--json"))["id"])


def test_200_sessions_that_wait_for_clients_have_no_accumulator(site: MakeSite, figure: Figure) -> None:
    here, sessions, elements = site(), 200, 1_000_000
    model = first_model(here, elements)
    here.crowd(1)
    begin(here, 0, 1, clients=3, model=model)  # what the first one costs is the server's own: modules, pools
    before = here.server.memory
    for number in range(1, sessions):
        begin(here, number, 1, clients=3, model=model)
    waiting = [here.rest(f"sessions/s{number:03}")["waiting_for"] for number in range(0, sessions, 10)]
    grown = here.server.memory - before
    figure(waiting=sessions, model=f"{elements * 4 / 1e6:.0f} MB", grown=f"{grown / 1e6:.1f} MB",
           with_accumulators=f"{sessions * ACCUMULATOR * elements / 1e6:,.0f} MB")  # fmt: skip
    assert waiting == [[{"for": "clients", "present": 1, "min": 3}]] * 20
    assert grown < 3 * ACCUMULATOR * elements


def test_20_sessions_in_mid_round_have_no_more_accumulators_than_their_limit_and_all_finish(
    tmp_path: Path, site: MakeSite, figure: Figure
) -> None:
    """Two of three clients have answered everywhere, the third is stuck in the first session's task."""
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "fedk.toml").write_text('[limits]\naccumulators = "20 MB"\n')
    here, sessions, elements = site(), 20, 1_000_000
    model = first_model(here, elements)
    here.crowd(2, elements)
    here.join("stuck", app=STUCK, STUCK_ELEMENTS=str(elements))
    here.clients["stuck"].until("joined")
    before = here.server.memory
    for number in range(sessions):
        begin(here, number, 1, clients=3, model=model)
    for _ in range(2 * sessions):
        here.server.until("update.accepted")
    grown = here.server.memory - before
    for _ in range(sessions):
        here.clients["stuck"].say("go on")
    commits, _ = courses(here.server, sessions)
    figure(in_mid_round=sessions, model=f"{elements * 4 / 1e6:.0f} MB", limit="20 MB", grown=f"{grown / 1e6:.1f} MB",
           without_a_limit=f"{sessions * ACCUMULATOR * elements / 1e6:,.0f} MB")  # fmt: skip
    assert len(commits) == sessions
    assert grown < sessions * ACCUMULATOR * elements / 2
