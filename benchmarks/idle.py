"""What a client costs that is connected and has nothing to do."""

import resource
from collections.abc import Iterator

from benchmarks.clients import crowd
from benchmarks.row import Row
from benchmarks.scale import Scale
from benchmarks.server import served

SPARE = 500  # files of a server beside its connections


def measure(scale: Scale) -> Iterator[Row]:
    clients = scale(5000, 50)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < clients + SPARE:
        raise RuntimeError(f"needs {clients + SPARE:,} open files, ulimit -Hn gives {hard:,}")
    with served() as server:
        with crowd(server, scale(100, 10)):
            pass  # what the first ones bring with them is not theirs
        before = server.memory
        with crowd(server, clients):
            grown = server.memory - before
    yield Row(f"idle client, of {clients:,} connected", grown / clients / 1e3, "kB", target=100)
