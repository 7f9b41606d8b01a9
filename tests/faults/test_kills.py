"""Kill servers and clients at any instant: the trail is that of a run that nobody disturbed."""

import itertools
import random
import time

import pytest
from tests.conftest import Figure
from tests.faults.conftest import Calm, MakeSite, Process, Site
from tests.faults.equality import NAMES, begin, end
from tests.faults.rows import one_verdict_each

EVENTS = ("round.open", "update.accepted", "round.committed", "client.joined")
"""By turns a server is killed after each of these; a client after the first three, and when it has made a result."""
INSTANT = 0.3
"""Seconds after a server's first line within which a random instant lies: while all come back."""


def await_one_of(process: Process, luck: random.Random, word: str) -> None:
    """The first to third next line with this word."""
    for _ in range(luck.randint(1, 3)):
        assert "session.finished" not in process.until(word, "session.finished"), "over too soon: more rounds"


def kill_a_client(site: Site, luck: random.Random, name: str, number: int) -> None:
    """By turns when it has made a result that the server may not have, and when the server says something."""
    if number % 2:
        site.clients[name].forget()
        await_one_of(site.clients[name], luck, " examples")
    else:
        await_one_of(site.server, luck, EVENTS[number // 2 % 3])
    site.kill(name)


def kill_the_server(site: Site, luck: random.Random, number: int) -> None:
    """By turns at an event, at any instant, and at any instant of its start."""
    if number % 3 == 0:
        await_one_of(site.server, luck, EVENTS[number // 3 % len(EVENTS)])
    elif number % 3 == 1:
        time.sleep(luck.uniform(0, INSTANT))  # the instant itself
    else:
        site.die_young(luck.uniform(0, 1.1))
    site.restart()


def disturbed(site: Site, rounds: int, weights: int, kills: int) -> list[str]:
    luck, victims = random.Random(weights), itertools.cycle(NAMES)
    begin(site, rounds, weights)
    for number in range(kills):
        kill_a_client(site, luck, next(victims), number)
        kill_the_server(site, luck, number)
    return end(site)


def kill_and_compare(site: Site, figure: Figure, undisturbed: Calm, *, rounds: int, weights: int, kills: int) -> None:
    wanted, began = undisturbed(rounds, weights), time.monotonic()
    found = disturbed(site, rounds, weights, kills)
    seconds = time.monotonic() - began
    figure(
        weights=weights,
        rounds=rounds,
        **{f"kills_of_{k}": n for k, n in site.kills.items()},
        receipts=one_verdict_each(site),
        digests_equal=found == wanted,
        seconds=f"{seconds:.0f}",
    )
    assert found == wanted
    assert min(site.kills.values()) >= kills


def test_small_models_survive_four_kills_of_server_and_clients(
    site: MakeSite, figure: Figure, undisturbed: Calm
) -> None:
    kill_and_compare(site(), figure, undisturbed, rounds=40, weights=1_000, kills=4)


@pytest.mark.chaos
@pytest.mark.timeout(900)  # a kill every two seconds, and what a busy machine makes of it
def test_chaos_small_inline_models(site: MakeSite, figure: Figure, undisturbed: Calm) -> None:
    kill_and_compare(site(), figure, undisturbed, rounds=250, weights=1_000, kills=35)


@pytest.mark.chaos
@pytest.mark.timeout(900)  # a kill every two seconds, and what a busy machine makes of it
def test_chaos_large_uploaded_models(site: MakeSite, figure: Figure, undisturbed: Calm) -> None:
    kill_and_compare(site(), figure, undisturbed, rounds=80, weights=2_000_000, kills=20)
