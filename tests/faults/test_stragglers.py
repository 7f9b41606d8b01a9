"""Clients that die or never answer: what they cost a round, and what they are told."""

import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Figure
from tests.faults.conftest import SILENCE, MakeSite, Process, Site

STUCK = f"{Path(__file__).parent / 'stuck.py'}:app"


def number(word: str, line: str) -> int:
    """The field of a line of the server's log."""
    found = re.search(rf"{word}=(\d+)", line)
    assert found is not None, line
    return int(found[1])


def ten_clients(site: Site, *stuck: str) -> None:
    """Those named are stuck in whatever they are asked; the others answer at once."""
    site.crowd(10 - len(stuck))
    site.join(*stuck, app=STUCK)
    for name in stuck:
        site.clients[name].until("joined")


def begin(site: Site, name: str = "s", **rules: Any) -> None:
    site.rest("sessions", {"name": name, **rules})


def training(client: Process) -> int:
    """The round that a stuck client is stuck in, once it is."""
    word, round_ = client.first.get(timeout=SILENCE).split()  # as SILENCE says
    assert word == "training"
    return int(round_)


def answers(site: Site, count: int) -> None:
    """The server has accepted so many for round 1."""
    while count:
        count -= number("round", site.server.until("update.accepted")) == 1


def committed_round(site: Site) -> tuple[int, int, int]:
    """Number, updates and target of the next model; what began as model 0 is none."""
    line = site.server.until("round.committed")
    found = number("round", line), number("updates", line), number("target", line)
    return found if found[0] else committed_round(site)


def verdicts(site: Site, name: str = "s") -> dict[str, str]:
    """Of the clients that are not in the newest model, by name."""
    newest = site.rest(f"sessions/{name}/trail")["models"][-1]
    return {one["client"]: one["reason"] for one in newest["refusals"]}


# ---- one that dies ----


def lose_one_of_ten(site: Site, figure: Figure, *, grace: float, rules: dict[str, Any]) -> None:
    """Kill one during its task: the round lasts as long as it counts as present, and then does without it."""
    ten_clients(site, "dead")
    begin(site, rounds=2, **rules)
    assert training(site.clients["dead"]) == 1
    answers(site, 9)
    killed = time.monotonic()
    site.clients["dead"].kill()
    first = committed_round(site)
    seconds = time.monotonic() - killed
    second = committed_round(site)
    figure(clients=10, killed=1, grace=f"{grace} s", deadline="600 s", round=f"{seconds:.2f} s",
           updates=first[1], next_round=f"{time.monotonic() - killed - seconds:.2f} s")  # fmt: skip
    assert (first, second) == ((1, 9, 9), (2, 9, 9))
    assert grace - 0.5 < seconds < SILENCE


def test_a_client_killed_in_its_task_costs_the_round_the_grace_time_and_not_the_deadline(
    site: MakeSite, figure: Figure
) -> None:
    lose_one_of_ten(site(), figure, grace=2.0, rules={"clients": {"grace": 2.0}})


@pytest.mark.chaos
def test_chaos_with_the_default_rules_too(site: MakeSite, figure: Figure) -> None:
    lose_one_of_ten(site(), figure, grace=30.0, rules={})


# ---- two that never answer ----


def suspend(client: Process) -> None:
    """As a laptop that is shut: it is connected, and silent."""
    client.process.send_signal(signal.SIGSTOP)


def told(client: Process, round_: int) -> str:
    """What a stuck client's own log says of the round that went on without it, once it is free again."""
    client.say("go on")
    client.process.send_signal(signal.SIGCONT)
    return client.until(f"s round {round_} called off", f"s round {round_} not used").rstrip()


def test_a_round_that_asks_more_than_it_aims_at_closes_without_waiting_for_two_that_are_stuck(
    site: MakeSite, figure: Figure
) -> None:
    here = site()
    ten_clients(here, "x", "y")
    began = time.monotonic()
    begin(here, clients={"fraction": 0.8}, round={"over_select": 1.25})
    rounds = [training(here.clients[name]) for name in ("x", "y")]
    _, updates, target = committed_round(here)
    seconds = time.monotonic() - began
    words = {name: told(here.clients[name], 1) for name in ("x", "y")}
    figure(asked=10, target=target, stuck=2, round=f"{seconds:.2f} s", told=words["x"])
    assert rounds == [1, 1]
    assert (updates, target) == (8, 8)
    assert seconds < SILENCE
    assert all(line.endswith("late") for line in words.values())
    assert verdicts(here) == {"x": "late", "y": "late"}


def test_at_the_deadline_a_round_closes_with_the_quorum_and_two_that_are_stuck_are_told_they_are_late(
    site: MakeSite, figure: Figure
) -> None:
    here, deadline = site(), 2.0
    ten_clients(here, "x", "y")
    begin(here, round={"quorum": 0.8, "deadline": deadline})
    for name in ("x", "y"):
        assert training(here.clients[name]) == 1
    suspend(here.clients["y"])
    answers(here, 8)
    _, updates, target = committed_round(here)
    seconds = next(row["seconds"] for row in here.rest("sessions/s/rounds")["rounds"] if row["round"] == 1)
    words = {name: told(here.clients[name], 1) for name in ("x", "y")}
    figure(quorum=8, target=target, stuck=2, deadline=f"{deadline} s", round=f"{seconds:.2f} s",
           told_when_free=words["x"], told_when_awake=words["y"])  # fmt: skip
    assert (updates, target) == (8, 10)
    assert seconds >= deadline
    assert all(line.endswith("late") for line in words.values())
    assert verdicts(here) == {"x": "late", "y": "late"}


def test_once_those_that_are_stuck_are_gone_the_quorum_closes_the_round_before_its_deadline(
    site: MakeSite, figure: Figure
) -> None:
    here = site()
    ten_clients(here, "x", "y")
    begin(here, clients={"grace": 1.0}, round={"quorum": 0.8})
    for name in ("x", "y"):
        assert training(here.clients[name]) == 1
    answers(here, 8)
    began = time.monotonic()
    for name in ("x", "y"):
        here.clients[name].kill()
    _, updates, target = committed_round(here)
    seconds = time.monotonic() - began
    figure(quorum=8, stuck_and_then_killed=2, grace="1 s", deadline="600 s", round=f"{seconds:.2f} s")
    assert (updates, target) == (8, 10)
    assert seconds < SILENCE


def test_without_a_quorum_two_that_are_stuck_fail_the_session_by_name_and_another_quorum_lets_it_go_on(
    site: MakeSite, figure: Figure
) -> None:
    here, deadline = site(), 2.0
    ten_clients(here, "x", "y")
    begin(here, round={"deadline": deadline, "retries": 1})
    failed = here.server.until("session.failed")
    shown = here.fedk("session", "show", "s")
    unanswered = next(line for line in shown.splitlines() if "no answer" in line).split()
    figure(deadline=f"{deadline} s", attempts=2, stuck=2, shown=" ".join(unanswered))
    assert "round 1, attempt 2 of 2: quorum 10 of 10 not reached: 8 updates at the deadline" in failed
    assert unanswered == ["x", "y", "no", "answer:", "session-failed"]
    for name in ("x", "y"):
        told(here.clients[name], 1)
    here.fedk("session", "resume", "s", "--set", "round.quorum=0.8")
    assert committed_round(here)[1] >= 8
