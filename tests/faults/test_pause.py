"""A session that is paused while its server ends and begins: it goes on as if nothing had been."""

import signal
from collections.abc import Callable

from tests.faults.conftest import SEEDED, Site

NAMES = ("a", "b", "c")
RULES = (
    f'model = "{SEEDED}"\nrounds = 30\n[clients]\nmin = {len(NAMES)}\ngrace = "10m"\n'
    '[round]\nreplace = false\ndeadline = "1h"\n[aggregator]\nuse = "fedyogi"\n'
)
"""Time cannot choose who is in a model. FedYogi's step follows two moments of all the rounds before it."""


def undisturbed(site: Site) -> list[str]:
    site.join(*NAMES)
    site.session("s", RULES)
    site.server.until("session.finished")
    return site.digests("s")


def pause(site: Site) -> int:
    """In mid-round: one client is silent until the session is paused. Returns the newest model's number."""
    silent = site.clients["a"].process
    silent.send_signal(signal.SIGSTOP)
    site.fedk("session", "pause", "s")
    silent.send_signal(signal.SIGCONT)
    shown = site.rest("sessions/s")
    assert (shown["status"], shown["waiting_for"][0]["for"]) == ("paused", "person")
    return int(shown["head"]["round"])


def test_momentum_goes_on_after_a_pause_in_which_the_server_is_stopped_or_killed(
    site: Callable[[], Site], figure: Callable[..., None]
) -> None:
    wanted = undisturbed(site())
    here, at = site(), []
    here.join(*NAMES)
    here.session("s", RULES)
    for kill in (False, True):
        for _ in range(5):
            here.server.until("round.committed")
        at.append(pause(here))
        here.restart(kill=kill)
        shown = here.rest("sessions/s")
        assert (shown["status"], shown["head"]["round"]) == ("paused", at[-1])
        here.fedk("session", "resume", "s")
    here.server.until("session.finished")
    figure(aggregator="fedyogi", rounds=30, stopped_while_paused_after=at[0], killed_while_paused_after=at[1])
    assert at[0] < at[1] < 30
    assert here.digests("s") == wanted
