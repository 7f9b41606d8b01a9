"""Processes that stop without ending, longer than anybody believes in them: a laptop that sleeps, a machine that swaps."""

import time

import pytest
from tests.conftest import Figure
from tests.faults.conftest import Calm, MakeSite, Site
from tests.faults.equality import begin, end
from tests.faults.rows import one_verdict_each

ROUNDS, WEIGHTS = 40, 1_000
LOST = 30
"""Seconds within which a silent server is given up: the client's keepalive."""


def begun(site: Site) -> Site:
    """With a session in its second round."""
    begin(site, ROUNDS, WEIGHTS)
    site.server.until("round.committed")
    return site


def test_a_client_and_a_server_that_stop_for_two_seconds_are_not_missed(site: MakeSite, undisturbed: Calm) -> None:
    here = begun(site())
    for process in (here.clients["a"], here.server):
        process.hold()
        time.sleep(2)  # the fault itself
        process.go_on()
        here.server.until("round.committed")
    assert end(here) == undisturbed(ROUNDS, WEIGHTS)
    assert not any("client.lost" in line for line in here.server.heard)
    assert not any("server lost" in line for client in here.clients.values() for line in client.heard)
    one_verdict_each(here)


@pytest.mark.chaos
def test_chaos_a_client_that_stops_beyond_its_keepalive_is_missed_and_goes_on_with_its_task(
    site: MakeSite, undisturbed: Calm, figure: Figure
) -> None:
    here = begun(site())
    here.clients["a"].hold()
    began = time.monotonic()
    assert "client=a" in here.server.until("client.lost")
    missed = time.monotonic() - began
    here.clients["a"].go_on()
    began = time.monotonic()
    here.server.until("round.committed")
    figure(client_missed_after=f"{missed:.1f} s", round_committed_after=f"{time.monotonic() - began:.1f} s")
    assert end(here) == undisturbed(ROUNDS, WEIGHTS)
    one_verdict_each(here)


@pytest.mark.chaos
def test_chaos_a_server_that_stops_beyond_its_clients_keepalive_goes_on_with_its_round(
    site: MakeSite, undisturbed: Calm, figure: Figure
) -> None:
    here = begun(site())
    here.server.hold()
    began = time.monotonic()
    for client in here.clients.values():
        client.until("server lost")
    missed = time.monotonic() - began
    time.sleep(LOST)  # and for as long again: every dial finds a port that listens, and nobody who speaks
    here.server.go_on()
    began = time.monotonic()
    here.server.until("round.committed")
    figure(server_missed_after=f"{missed:.1f} s", round_committed_after=f"{time.monotonic() - began:.1f} s")
    assert end(here) == undisturbed(ROUNDS, WEIGHTS)
    one_verdict_each(here)
