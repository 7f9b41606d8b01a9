"""A server that was away comes back: 100 clients notice it, and the round goes on where it was."""

import time
from collections.abc import Callable

import pytest
from tests.faults.conftest import Site
from tests.faults.rows import one_verdict_each, receipts

CLIENTS, LIMIT = 100, 3.0
"""LIMIT: seconds from a server's first line to the round's commit with the updates of all."""

ROUNDS = 4
RULES = (
    f"rounds = {ROUNDS}\n[clients]\nmin = {CLIENTS}\ngrace = '10m'\n"
    "[round]\nquorum = 1.0\nreplace = false\ndeadline = '1h'\n"
)


def in_mid_round(site: Site) -> None:
    """One round is committed; half of the next one's results have receipts."""
    site.server.until("round.committed")
    site.server.until("round=1")
    for _ in range(CLIENTS // 2):
        site.server.until("update.accepted")


def recover(make: Callable[[], Site], figure: Callable[..., None], *, outage: float) -> None:
    site = make()
    crowd = site.crowd(CLIENTS)
    site.session("s", RULES)
    in_mid_round(site)
    site.restart(outage=outage)
    began, held = time.monotonic(), receipts(site)
    for _ in range(CLIENTS):
        site.server.until("client.joined")
    joined = time.monotonic() - began
    line = site.server.until("round.committed")
    committed = time.monotonic() - began
    site.server.until("session.finished")
    crowd.say("")
    trained, twice = map(int, crowd.first.get(timeout=60).split())  # a crowd that hangs fails its test
    figure(
        clients=CLIENTS, outage=f"{outage:g} s", receipts_before=len(held), all_joined=f"{joined:.2f} s",
        round_committed=f"{committed:.2f} s", trained=trained, trained_twice=twice,
    )  # fmt: skip
    assert f"updates={CLIENTS}" in line, line
    assert (trained, twice) == (CLIENTS * ROUNDS, 0)
    assert held <= receipts(site)
    assert one_verdict_each(site) == CLIENTS * ROUNDS + 1  # the first model is one too
    assert committed < LIMIT


def test_100_clients_go_on_within_3_s_of_their_servers_return(
    site: Callable[[], Site], figure: Callable[..., None]
) -> None:
    recover(site, figure, outage=2.0)


@pytest.mark.chaos
def test_chaos_100_clients_go_on_within_3_s_after_an_outage_of_30_s(
    site: Callable[[], Site], figure: Callable[..., None]
) -> None:
    recover(site, figure, outage=30.0)
