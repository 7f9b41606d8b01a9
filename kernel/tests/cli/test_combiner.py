"""`fedk combiner` against a server behind a real port."""

import signal
import socket
import subprocess
import sys
import threading

import pytest

from fedk.rounds.clients import Joining, Present
from fedk.rounds.combiners import Combiner
from fedk.rounds.draining import Draining
from fedk.testing.site import Served


def draining(served: Served) -> subprocess.Popen[str]:
    """`fedk combiner drain east --wait`, once it has heard that east drains, and waits."""
    end, waits = Draining.end, threading.Event()

    async def ended(draining: Draining, name: str) -> None:
        waits.set()
        await end(draining, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Draining, "end", ended)
        process = drain(served.url)
        assert waits.wait(30)
    return process


def drain(url: str) -> subprocess.Popen[str]:
    code = "from fedk.cli import main; main()"
    command = [sys.executable, "-c", code, "combiner", "drain", "east", "--wait", "--url", url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def one_client(served: Served, east: Combiner) -> Present:
    tier = served.site.tier
    await tier.attach(east)
    tier.ready(east)
    joined = await tier.join(east, Joining("default", "a", "a-1", {}, ("train",), (), "player 1"))
    tier.here(east, [there := Present(joined.client, "a-1")])
    return there


@pytest.mark.usefixtures("ctrl_c")
def test_a_drain_is_waited_for_and_ctrl_c_leaves_it(served: Served) -> None:
    there = served.do(one_client(served, east := Combiner("east", "1", ("east:1",))))
    with draining(served) as process:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert (process.returncode, err) == (130, f"east drains on: fedk combiner show east --url {served.url}\n\n")

    async def gone() -> None:
        served.site.tier.gone(east, [there])

    with draining(served) as process:
        served.do(gone())
        out, _ = process.communicate()
    assert (process.returncode, out) == (0, "east is drained: it has no client and holds nothing, and can be stopped\n")


@pytest.mark.usefixtures("ctrl_c")
def test_who_leaves_before_the_server_has_answered_is_not_told_that_it_drains() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with drain(f"http://127.0.0.1:{silent.getsockname()[1]}") as process:
            connection, _ = silent.accept()
            connection.recv(1)  # it asks
            process.send_signal(signal.SIGINT)
            out, err = process.communicate()
        connection.close()
    assert (process.returncode, out, err) == (130, "", "\n")
