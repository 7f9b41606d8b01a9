"""What aggregation costs on this machine, beside its targets: time, and memory above that of an idle process.

    python benchmarks/aggregation.py

Each row is a process of its own, which works as a round does: results in files, intake, folding, the next model and
state out. Updates are of 5 million float32 elements, 20 MB. Work is one thread's, so that rows are judged by its CPU
time: what else runs on the machine does not count. The time that passed stands beside it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from fedk.aggregation.composition import begin
from fedk.aggregation.contribution import Contribution
from fedk.aggregation.expected import expect
from fedk.aggregation.geometry import geometry
from fedk.aggregation.grid import Grid
from fedk.aggregation.intake import Intake
from fedk.aggregation.model import Model
from fedk.aggregation.places import Places
from fedk.aggregation.stack import Brought, Stack
from fedk.aggregation.state import first_state
from fedk.aggregation.terms import terms
from fedk.api.aggregator import AnyAggregator, Array, Config, MeanAggregator, Round, State, Update
from fedk.blobs.reader import Span
from fedk.testing.aggregation import built
from fedk_protocol.codec import Safetensors

ELEMENTS, BYTES = 5_000_000, 20_000_000
CHUNK = 1 << 20  # of an upload


@dataclass(frozen=True)
class Measured:
    """Of one row."""

    seconds: float  # of CPU
    passed: float
    megabytes: float  # peak above idle
    gigabytes: float = 0.0  # that passed, where a rate is wanted


@dataclass(frozen=True)
class Row:
    """One line of the table; the target is a rate at least, or seconds and megabytes at most."""

    name: str
    work: Callable[[Path], Measured]
    updates: int
    rate: float | None = None
    seconds: float | None = None
    megabytes: float | None = 64
    elements: int = ELEMENTS
    beside: str = ""  # another row, to whose time this one's is compared

    def line(self, found: Measured) -> str:
        speed = f"{found.gigabytes / found.seconds:.2f} GB/s" if self.rate else f"{found.seconds:.2f} s"
        target = f"≥ {self.rate:g} GB/s" if self.rate else f"≤ {self.seconds:g} s"
        if self.megabytes is not None:
            target += f", ≤ {self.megabytes:g} MB"
        passed = f"{found.passed:.2f} s"
        return f"{self.name:34} {speed:>10} {passed:>9} {found.megabytes:>+6.0f} MB   {target:22} {self.verdict(found)}"

    def comparison(self, all_found: Mapping[str, Measured]) -> str:
        """In time for each update, where the other row has been measured."""
        other = all_found.get(self.beside)
        if other is None:
            return ""
        return f"   {all_found[self.name].seconds / other.seconds:.1f} × {self.beside}"

    def verdict(self, found: Measured) -> str:
        fast = found.gigabytes / found.seconds >= self.rate if self.rate else found.seconds <= (self.seconds or 0)
        small = self.megabytes is None or found.megabytes <= self.megabytes
        return "ok" if fast and small else "missed"


class Memory:
    """Resident memory above that of the beginning, at its highest. (Linux keeps a high-water mark and lets it be reset.)"""

    def __enter__(self) -> Self:
        Path("/proc/self/clear_refs").write_text("5")
        self.idle = _status("VmRSS")
        self.began, self.clock = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds, self.passed = time.process_time() - self.began, time.perf_counter() - self.clock
        self.megabytes = (_status("VmHWM") - self.idle) / 1e3

    def measured(self, gigabytes: float = 0.0) -> Measured:
        return Measured(self.seconds, self.passed, self.megabytes, gigabytes)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


class Deltas(MeanAggregator[Config]):
    """Subtracts the base of each update."""

    of = "delta"

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        return x + mean, {}


def contributions(folder: Path, aggregator: AnyAggregator[Any]) -> tuple[Model, list[Contribution]]:
    base, *updates = sorted(folder.iterdir())
    model = Model.open(_span(base))
    view = Round(1, len(updates), len(updates))
    found = []
    for path in updates:
        update = Update(path.name, path.name, 10)
        found.append(Contribution(update, terms(aggregator, update, view), {"model": _span(path)}, model))
    return model, found


def _span(path: Path) -> Span:
    return Span(str(path), 0, path.stat().st_size)


def fold(aggregator: AnyAggregator[Any], folder: Path, together: int = 1, *, deterministic: bool = False) -> Measured:
    """Adding up alone, as many updates in one pass as stand in the queue."""
    base, updates = contributions(folder, aggregator)
    view = Round(1, len(updates), len(updates))
    folding = begin(aggregator, base, first_state(aggregator), view, deterministic=deterministic)
    folding.fold(*updates[:2])  # the sums' memory is touched for the first time
    with Memory() as memory:
        for at in range(2, len(updates), together):
            folding.fold(*updates[at : at + together])
    return memory.measured((len(updates) - 2) * BYTES / 1e9)


def intake(folder: Path) -> Measured:
    """The pass over a result as it arrives, without its hash."""
    base, update = sorted(folder.iterdir())
    expected = expect(built("fedavg"), Model.open(_span(base)))
    data = update.read_bytes()
    spent = []
    for _ in range(5):
        arriving = Intake(expected, {"model": len(data)})
        blob = arriving._blobs[0]
        blob._sha256 = _NoHash()  # SHA-256 runs at 1.4 GB/s by itself, and is not this pass
        with Memory() as memory:
            for at in range(0, len(data), CHUNK):
                arriving.feed(memoryview(data)[at : at + CHUNK])
        spent.append(memory.measured(len(data) / 1e9))
    return min(spent, key=lambda measured: measured.seconds)


class _NoHash:
    def update(self, data: memoryview, /) -> None:
        pass

    def digest(self) -> bytes:
        return b""


def step(folder: Path) -> Measured:
    """FedAdam's step and the writing of model and state, after the fold; from the second round on."""
    aggregator = built("fedadam")
    base, updates = contributions(folder, aggregator)
    folding = begin(aggregator, base, first_state(aggregator), Round(1, 2, 2))
    for update in updates:
        folding.fold(update)
    with Memory() as memory:
        folding.finish(_drop, _drop)
    return memory.measured()


def whole(name: str, folder: Path, config: Mapping[str, Any] | None = None) -> Measured:
    """A round of a shape that reads all updates at once: everything but intake."""
    aggregator = built(name, config)
    with Memory() as memory:
        base, updates = contributions(folder, aggregator)
        folding = begin(aggregator, base, first_state(aggregator), Round(1, len(updates), len(updates)))
        for update in updates:
            folding.fold(update)
        folding.finish(_drop, _drop)
    return memory.measured()


def distances(folder: Path) -> Measured:
    base, updates = contributions(folder, built("krum"))
    grid = Grid(base.layout)
    places = Places(grid, base.layout)
    brought = [Brought(one.update, 1.0, one.blobs["model"], places, base) for one in updates]
    with Memory() as memory:
        geometry(Stack(grid, base, brought))
    return memory.measured()


def _drop(data: bytes | memoryview) -> None:
    """The next model is made and not kept: disks are measured elsewhere."""


ROWS = (
    Row("fold models", lambda folder: fold(built("fedavg"), folder), 12, rate=2.0),
    Row("fold deltas", lambda folder: fold(Deltas(), folder), 12, rate=1.5),
    Row("fold deltas, five in a queue", lambda folder: fold(Deltas(), folder, 5), 12, rate=2.0),
    Row(
        "fold models, deterministic",
        lambda folder: fold(built("fedavg"), folder, deterministic=True),
        12,
        rate=0.75,  # 2.6 times the fold's time
        beside="fold models",
    ),
    Row(
        "fold deltas, deterministic",
        lambda folder: fold(Deltas(), folder, deterministic=True),
        12,
        rate=0.58,
        beside="fold deltas",
    ),
    Row("intake: finite, largest, norm", intake, 1, rate=1.0),
    Row("FedAdam step, 25 M parameters", step, 2, seconds=1.0, elements=5 * ELEMENTS),
    Row("median of 10 × 20 MB", lambda folder: whole("fedmedian", folder), 10, seconds=0.5),
    Row("median of 50 × 20 MB", lambda folder: whole("fedmedian", folder), 50, seconds=4.0),
    Row("distances of 50 × 20 MB", distances, 50, seconds=3.0),
    Row("trimmed-mean, 50 × 20 MB", lambda folder: whole("trimmed-mean", folder), 50, seconds=6.0),
    Row("krum, 50 × 20 MB", lambda folder: whole("krum", folder, {"byzantine": 5}), 50, seconds=4.0),
    Row("geometric-median, 50 × 20 MB", lambda folder: whole("geometric-median", folder), 50, seconds=6.0),
    Row("bulyan, 50 × 20 MB", lambda folder: whole("bulyan", folder, {"byzantine": 5}), 50, seconds=12.0),
)


def write(folder: Path, updates: int, elements: int) -> None:
    """A base and its updates, in the three tensors of an odd model."""
    draw = np.random.default_rng(0)
    folder.mkdir()
    base = draw.standard_normal(elements, np.float32)
    for number in range(updates + 1):
        values = base if not number else base + np.float32(1e-3) * draw.standard_normal(elements, np.float32)
        parts = {"a": values[: elements // 3], "b": values[elements // 3 : -7], "c": values[-7:]}
        with (folder / f"{number:04}").open("wb") as file:
            file.writelines(Safetensors().encode(parts))


def measure(rows: Sequence[Row] = ROWS) -> dict[str, Measured]:
    """Every row, each in a process of its own; told as it is found."""
    found: dict[str, Measured] = {}
    print(f"{'aggregation':34} {'cpu':>10} {'passed':>9} {'above idle':>9}   target")
    with tempfile.TemporaryDirectory(prefix="fedk-bench-") as temporary:
        for row in rows:
            folder = Path(temporary, f"{row.updates}-{row.elements}")
            if not folder.exists():
                write(folder, row.updates, row.elements)
            command = [sys.executable, __file__, "--row", row.name, "--folder", str(folder)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            found[row.name] = Measured(**json.loads(done.stdout))
            print(row.line(found[row.name]) + row.comparison(found), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--row", help="this row only; by itself it prints the table")
    parser.add_argument("--folder", type=Path, help="updates that are written already: prints JSON")
    asked = parser.parse_args()
    rows = [row for row in ROWS if asked.row in (None, row.name)]
    if asked.folder is not None:
        print(json.dumps(asdict(rows[0].work(asked.folder))))
    else:
        measure(rows)


if __name__ == "__main__":
    main()
