"""What a round costs beside the wire: ten clients and a thousand with 40 kB, four with 100 MB."""

from collections.abc import Iterator
from statistics import median

from benchmarks import bare
from benchmarks.clients import crowd, echoes
from benchmarks.row import Row
from benchmarks.scale import Scale
from benchmarks.server import served

SMALL, LARGE = 10_000, 25_000_000  # float32: 40 kB, 100 MB


def ten(scale: Scale) -> Iterator[Row]:
    """Ten processes: ours and the wire's take turns."""
    rounds, ours, wire = scale(50, 5), [], []
    with served() as server, echoes(server, 10, weights=SMALL):
        for _ in range(scale(3, 1)):
            ours += server.session(clients=10, rounds=rounds)
            wire += bare.echo(10, rounds, 4 * SMALL)
    spent, alone = 1000 * median(ours), 1000 * median(wire)
    yield Row("round, 10 clients × 40 kB", spent, "ms", target=20)
    yield Row("the same, beside the wire", spent, "ms", "grpc.aio echo", alone, target=3, relative=True)


def thousand(scale: Scale) -> Iterator[Row]:
    """A thousand connections from one process. The wire's echo of the same messages stands beside it."""
    clients, rounds = scale(1000, 50), scale(8, 2)
    with served() as server, crowd(server, clients, weights=SMALL):
        server.session(clients=clients, rounds=1)  # threads are started, modules imported
        before = server.cpu
        spent = server.session(clients=clients, rounds=rounds)
        used = 1000 * (server.cpu - before) / (clients * rounds)
    alone = median(bare.echo(clients, rounds, 4 * SMALL, processes=1))
    yield Row(f"round, {clients:,} clients × 40 kB", median(spent), "s", "grpc.aio echo", alone, target=2)
    yield Row("server's CPU for each of them", used, "ms", target=1)


def large(scale: Scale) -> Iterator[Row]:
    """Four processes: ours and the wire's take turns, in megabytes that went both ways."""
    weights, ours, wire = scale(LARGE, LARGE // 25), [], []
    with served() as server, echoes(server, 4, weights=weights):
        server.session(clients=4, rounds=scale(3, 1))  # memory that is used again from then on has been found
        for _ in range(scale(8, 1)):
            ours += server.session(clients=4, rounds=2)
            wire += bare.transfer(4, 2, 4 * weights)
    moved = 4 * 2 * 4 * weights / 1e6
    name = f"round, 4 clients × {4 * weights / 1e6:.0f} MB"
    yield Row(name, median(ours), "s", "gRPC and SHA-256", median(wire))
    fast, alone = moved / median(ours), moved / median(wire)
    yield Row("the same, as throughput", fast, "MB/s", "gRPC and SHA-256", alone, target=0.75, more=True, relative=True)
