"""The machine's clock jumps by a day: deadlines are monotonic, so no round expires or takes a day, and no client is forgotten."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults.conftest import SEEDED, Site
from tests.faults.equality import NAMES, end
from tests.faults.rows import one_verdict_each

SHIFT = Path(__file__).parent / "shift"
DAY, DEADLINE, GRACE = 86_400, 600, 60
ROUNDS, WEIGHTS = 40, 1_000
RULES = (
    f'model = "{SEEDED}"\nrounds = {ROUNDS}\n[clients]\nmin = {len(NAMES)}\ngrace = "{GRACE}s"\n'
    f'[round]\nretries = 0\nreplace = false\ndeadline = "{DEADLINE}s"\n'
)
"""The equality profile with a deadline. A round that expires fails the session: it has no second attempt."""


def clock(shift: int) -> dict[str, str]:
    """Of a server that starts with it."""
    path = [str(SHIFT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"CLOCK_SHIFT": str(shift), "PYTHONPATH": os.pathsep.join(path)}


def in_mid_round(site: Site) -> None:
    """One client is silent, and its round has the results of the two others."""
    site.clients["a"].until(" examples")
    site.clients["a"].hold()
    while not one_is_silent(**site.rest("sessions/s")["waiting_for"][0]):
        site.server.until("update.accepted")


def one_is_silent(*, clients: Sequence[str] = (), updates: int = 0, **_more: object) -> bool:
    return (list(clients), updates) == (["a"], 2)


def left(site: Site) -> float:
    """Seconds that the silent client has."""
    return float(site.rest("sessions/s")["waiting_for"][0]["at_most"])


def test_a_clock_that_jumps_by_a_day_across_restarts_and_in_mid_run_ends_no_round(
    site: Callable[[], Site], undisturbed: Callable[[int, int], list[str]], figure: Callable[..., None]
) -> None:
    here, seen = site(), []
    here.restart(env=clock(0))
    here.session("s", RULES)
    here.join(*NAMES)
    for shift in (DAY, -DAY):  # against the clock of the server before
        in_mid_round(here)
        here.restart(env=clock(shift))
        here.server.until("client.joined")
        here.server.until("client.joined")
        seen.append(left(here))
        here.clients["a"].go_on()
        here.server.until("round.committed")
    for jump in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR2):
        in_mid_round(here)
        here.server.process.send_signal(jump)
        seen.append(left(here))
        here.clients["a"].go_on()
        here.server.until("round.committed")
    found = end(here)
    figure(jumps=len(seen), deadline=f"{DEADLINE} s", left_after_each=" ".join(f"{s:.0f}" for s in seen))
    assert found == undisturbed(ROUNDS, WEIGHTS)
    assert all(GRACE - 30 < seconds <= DEADLINE for seconds in seen)
    rounds = here.rest("sessions/s/rounds")["rounds"]
    assert len(rounds) == ROUNDS
    assert all(0 <= row["seconds"] < 2 * DEADLINE for row in rounds), (
        "what a server was away counts, a deadline at most"
    )
    one_verdict_each(here)
