"""`fedk combiner` against a server behind a real port."""

import signal
import subprocess
import sys

from fedk.rounds.clients import Joining, Present
from fedk.rounds.combiners import Combiner
from fedk.testing.site import Served


def draining(served: Served) -> subprocess.Popen[str]:
    """`fedk combiner drain east --wait`, once the server has heard of it."""
    code = "from fedk.cli import main; main()"
    command = [sys.executable, "-c", code, "combiner", "drain", "east", "--wait", "--url", served.url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    served.do(said(served, "combiner.draining"))
    return process


async def said(served: Served, event: str) -> None:
    with served.site.desk.feed.listen() as listener:
        async for one in listener:
            if one.type == event:
                return


async def one_client(served: Served, east: Combiner) -> Present:
    tier = served.site.tier
    await tier.attach(east)
    tier.ready(east)
    joined = await tier.join(east, Joining("default", "a", "a-1", {}, ("train",), (), "player 1"))
    tier.here(east, [there := Present(joined.client, "a-1")])
    return there


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
