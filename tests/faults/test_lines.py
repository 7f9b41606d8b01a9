"""Bad lines: slow ones, and such that are dead while both ends believe in them."""

import time

import pytest
from tests.conftest import Figure
from tests.faults.conftest import Calm, MakeSite
from tests.faults.equality import NAMES, begin, end
from tests.faults.proxy import Proxy
from tests.faults.rows import one_verdict_each

LOST = 35
"""Seconds within which a silent connection is given up: a client pings after 20 s, and waits 10 s for the answer."""


def test_a_slow_line_delays_its_client_and_changes_no_model(site: MakeSite, undisturbed: Calm, figure: Figure) -> None:
    rounds, weights, rate = 2, 50_000, 400_000
    wanted, here = undisturbed(rounds, weights), site()
    with Proxy(here.server.listen, bytes_a_second=rate) as proxy:
        begin(here, rounds, weights, behind=proxy.listen)
        assert end(here) == wanted
        figure(line=f"{rate / 1000:.0f} kB/s", model=f"{weights * 4 / 1000:.0f} kB", receipts=one_verdict_each(here))


def test_a_client_that_restarts_takes_over_from_its_half_open_connection_at_once(
    site: MakeSite, undisturbed: Calm
) -> None:
    rounds, weights = 40, 1_000
    wanted, here = undisturbed(rounds, weights), site()
    with Proxy(here.server.listen) as proxy:
        begin(here, rounds, weights, behind=proxy.listen)
        here.server.until("round.committed")
        proxy.freeze()
        here.clients[NAMES[0]].kill()  # of which the server hears nothing
        here.join(NAMES[0], server=proxy.listen)
        assert end(here) == wanted
        assert not any("client.lost" in line for line in here.server.heard), "it was superseded, not waited for"
        one_verdict_each(here)


@pytest.mark.chaos
def test_chaos_a_client_notices_a_half_open_connection_and_takes_over_from_it(
    site: MakeSite, undisturbed: Calm, figure: Figure
) -> None:
    rounds, weights = 40, 1_000
    wanted, here = undisturbed(rounds, weights), site()
    with Proxy(here.server.listen) as proxy:
        begin(here, rounds, weights, behind=proxy.listen)
        here.server.until("round.committed")
        proxy.freeze()
        began = time.monotonic()
        here.clients["a"].until("server lost")
        missed = time.monotonic() - began
        assert end(here) == wanted
        figure(dead_line_noticed_after=f"{missed:.1f} s", receipts=one_verdict_each(here))
        assert missed < LOST


@pytest.mark.chaos
def test_chaos_an_upload_whose_line_dies_in_mid_air_goes_on_over_the_next(site: MakeSite, undisturbed: Calm) -> None:
    rounds, weights = 3, 2_000_000
    wanted, here = undisturbed(rounds, weights), site()
    with Proxy(here.server.listen) as proxy:
        proxy.freeze_after(3_000_000)
        begin(here, rounds, weights, behind=proxy.listen)
        assert proxy.frozen_at.wait(60)
        assert end(here) == wanted
        one_verdict_each(here)


@pytest.mark.chaos
def test_chaos_a_server_that_restarts_behind_a_dead_line_gets_its_client_back(
    site: MakeSite, undisturbed: Calm
) -> None:
    rounds, weights = 40, 1_000
    wanted, here = undisturbed(rounds, weights), site()
    with Proxy(here.server.listen) as proxy:
        begin(here, rounds, weights, behind=proxy.listen)
        here.server.until("round.committed")
        proxy.freeze()
        here.restart()  # of which the client hears nothing
        assert end(here) == wanted
        one_verdict_each(here)
