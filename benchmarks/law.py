"""The law of memory: whatever the number of clients, a server needs no more than so many models."""

import shutil
import tempfile
from collections.abc import Iterator
from statistics import median

from benchmarks.clients import crowd
from benchmarks.crowd import model
from benchmarks.process import Peak
from benchmarks.row import Row
from benchmarks.scale import Scale
from benchmarks.server import served

MODELS = 3.25  # float64 sums, the next model, and what is on its way
NOISE = 1.15  # of what 16 clients take to what 4 take
SMALL, HUNDRED, THOUSAND = 10_000, 25_000_000, 250_000_000  # float32: 40 kB, 100 MB, 1 GB


def hundred(scale: Scale) -> Iterator[Row]:
    """Four clients, then sixteen."""
    weights, grown = scale(HUNDRED, HUNDRED // 25), {}
    for clients in (4, 16):
        grown[clients], _ = growth(clients, weights, rounds=3)
        yield row(clients, weights, grown[clients])
    beside = ("4 clients", grown[4])
    yield Row("16 clients beside 4", grown[16], "MB", *beside, target=NOISE, relative=True)


def gigabyte(scale: Scale) -> Iterator[Row]:
    """Where there is the disk for it: four updates, three models, and half as much again."""
    weights = scale(THOUSAND, HUNDRED // 25)
    need, free = 10.5 * 4 * weights, shutil.disk_usage(tempfile.gettempdir()).free
    if free < need:
        raise RuntimeError(
            f"needs {need / 1e9:.0f} GB of disk in {tempfile.gettempdir()}, {free / 1e9:.0f} GB are free"
        )
    grown, spent = growth(4, weights, rounds=2)
    yield row(4, weights, grown)
    yield Row(f"round, 4 clients × {4 * weights / 1e6:,.0f} MB", median(spent), "s")


def growth(clients: int, weights: int, *, rounds: int) -> tuple[float, list[float]]:
    """Megabytes above idle at the peak, and seconds of each round."""
    with served() as server, crowd(server, clients, weights=weights):
        server.session(clients=clients, rounds=1, model=server.put(model(SMALL)))  # modules and pools are no model's
        with Peak(server) as peak:
            spent = server.session(clients=clients, rounds=rounds)
    return peak.grown / 1e6, spent


def row(clients: int, weights: int, grown: float) -> Row:
    size = 4 * weights / 1e6
    return Row(f"server's memory, {clients} × {size:,.0f} MB", grown, "MB", "model", size, target=MODELS, relative=True)
