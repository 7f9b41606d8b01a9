"""What combiners take off their root: a round of a thousand clients with 40 kB over none, one, two and four of them."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median

from benchmarks.clients import crowd
from benchmarks.crowd import model
from benchmarks.process import Process
from benchmarks.row import Row
from benchmarks.scale import Scale
from benchmarks.server import FREE, Server, served

WEIGHTS = 10_000  # float32: 40 kB
COMBINERS = (0, 1, 2, 4)
FALL = 0.66
"""Of a combiner's members, by which its root's models fall: one down and a float64 sum up are three, beside two of each."""

WORDS = 100
"""Bytes for each client: its task, report, weight and verdict."""

_COUNTS = re.compile(r"bytes_sent:(\d+)|bytes_received:(\d+)")


@dataclass(frozen=True)
class Spent:
    """By a root, a round."""

    bytes: float
    models: float  # of them: what the server itself counts for the session, which behind combiners are models and sums
    cpu: float
    seconds: float


def measure(scale: Scale) -> Iterator[Row]:
    clients, rounds = scale(1000, 20), scale(5, 1)
    flat = None
    for combiners in COMBINERS[: scale(len(COMBINERS), 2)]:
        spent = _spent(combiners, clients, rounds)
        yield from _rows(f"{clients:,} clients, {combiners} combiners", spent, flat, clients, combiners)
        flat = flat or spent


def _rows(name: str, spent: Spent, flat: Spent | None, clients: int, combiners: int) -> Iterator[Row]:
    each = 1000 / clients
    if flat is None:
        yield Row(f"{name}: root's bytes a round", spent.bytes / 1e6, "MB")
        yield Row("its CPU a round", spent.cpu, "s")
        yield Row("its CPU for each client", each * spent.cpu, "ms")
        yield Row("round", spent.seconds, "s")
        return
    fall, words = flat.models / spent.models, (spent.bytes - spent.models) / clients
    members = clients / combiners
    yield Row(f"{name}: root's bytes a round", spent.bytes / 1e6, "MB", "flat", flat.bytes / 1e6)
    yield Row("models and sums of them fall by", fall, "×", "members", members, target=FALL, more=True, relative=True)
    yield Row("words for each client", words, "bytes", target=WORDS)
    yield Row("its CPU a round", spent.cpu, "s", "flat", flat.cpu)
    yield Row("its CPU for each client", each * spent.cpu, "ms", "flat", each * flat.cpu, target=0.25, relative=True)
    yield Row("round", spent.seconds, "s", "flat", flat.seconds)


def _spent(combiners: int, clients: int, rounds: int) -> Spent:
    role = "controller" if combiners else "standalone"
    with served(FEDK_SERVER__ROLE=role) as root, _grown(root, combiners), crowd(root, clients, weights=WEIGHTS):
        # rounds alone: no client is asked for the first model, nor to measure the last one
        alone = {"model": root.put(model(WEIGHTS)), "validation": {"every": 0}}
        root.session(clients=clients, rounds=1, **alone)  # threads are started, modules imported
        before, cpu = _moved(root), root.cpu
        name = root.begin(clients=clients, rounds=rounds, **alone)
        seconds = root.ended(name)
        bytes_, cpu = _moved(root) - before, root.cpu - cpu
        return Spent(bytes_ / rounds, _counted(root, name) / rounds, cpu / rounds, median(seconds))


def _counted(root: Server, session: str) -> int:
    """Bytes of the session's messages both ways, as the server counts them."""
    found = root.rest(f"sessions/{session}/rounds?limit=1000")["rounds"]
    return sum(one["sent"] + one["received"] for one in found)


@contextmanager
def _grown(root: Server, combiners: int) -> Iterator[None]:
    with ExitStack() as ending:
        for n in range(combiners):
            folder = root.folder / f"combiner-{n}"
            folder.mkdir()
            own = {
                "FEDK_SERVER__ROLE": "combiner",
                "FEDK_SERVER__NAME": f"c{n}",
                "FEDK_SERVER__PARENT": json.dumps([root.listen]),
            }
            combiner = ending.enter_context(Process("fedk", "server", folder=folder, **FREE, **own))
            combiner.until("parent.attached")
        yield


def _moved(root: Server) -> int:
    """Bytes that its connections have carried, both ways; those that are open. What ss of iproute2 says."""
    port = root.listen.rpartition(":")[2]
    done = subprocess.run(
        ["ss", "-tinHO", "state", "established", f"sport = :{port}"], capture_output=True, text=True, check=True
    )
    return sum(int(sent or received) for sent, received in _COUNTS.findall(done.stdout))
