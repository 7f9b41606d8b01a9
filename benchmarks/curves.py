"""How a round grows: with clients, with the model, with the updates that are folded."""

from collections.abc import Iterator
from statistics import median

from benchmarks import fold
from benchmarks.clients import crowd
from benchmarks.rounds import SMALL
from benchmarks.row import Row
from benchmarks.scale import Scale
from benchmarks.server import served


def measure(scale: Scale) -> Iterator[Row]:
    for clients in scale((10, 30, 100, 300, 1000), (2, 4)):
        spent = seconds(clients, SMALL, rounds=10)
        yield Row(f"round, {clients:,} clients × 40 kB", 1000 * spent, "ms", curve="clients", x=clients)
    for weights in scale((10_000, 100_000, 1_000_000, 10_000_000, 100_000_000), (10_000, 100_000)):
        size = 4 * weights / 1e6
        spent = seconds(4, weights, rounds=10 if weights <= 1_000_000 else 2)  # noqa: PLR2004  # seconds, not minutes
        yield Row(f"round, 4 clients × {size:g} MB", 1000 * spent, "ms", curve="model", x=size)
    yield from fold.each(scale)


def seconds(clients: int, weights: int, *, rounds: int) -> float:
    """Median of a round's."""
    with served() as server, crowd(server, clients, weights=weights):
        return median(server.session(clients=clients, rounds=rounds))
