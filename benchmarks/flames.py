"""`make flames`: where the server's time goes in a round of 1,000 clients and in one of 4 × 100 MB, as py-spy sees it.

    python -m benchmarks.flames [--quick]

Writes docs/images/flame-*.svg and the three largest costs into docs/benchmarks.md. py-spy comes through `uv tool run`, and
must be allowed to trace a process that this one has started; it looks on while the server runs, and does not stop it.
--quick takes few small rounds, and writes nothing.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import page
from benchmarks.clients import crowd
from benchmarks.flame import Stack, costs, drawn, stacks
from benchmarks.machine import here
from benchmarks.peers.environment import UV
from benchmarks.process import Process
from benchmarks.run import bounded, interrupted
from benchmarks.server import Server, served

SECONDS = 300  # for one picture
RATE = 200  # samples a second
COSTS = 3


@dataclass(frozen=True)
class Scene:
    """Rounds of one kind."""

    name: str
    clients: int
    weights: int  # float32
    rounds: int

    @property
    def title(self) -> str:
        return f"{self.clients:,} clients × {4 * self.weights / 1e6:g} MB, {self.rounds} rounds"


FULL = (Scene("thousand", 1000, 10_000, 15), Scene("large", 4, 25_000_000, 8))
QUICK = (Scene("thousand", 20, 10_000, 2), Scene("large", 2, 250_000, 2))


def seen(scene: Scene) -> dict[Stack, int]:
    """Samples by stack, of all the server's threads that were not waiting."""
    with served() as server, crowd(server, scene.clients, weights=scene.weights):
        server.session(clients=scene.clients, rounds=1)  # what is imported then is imported once
        with tempfile.TemporaryDirectory(prefix="fedk-bench-") as folder:
            file = Path(folder, "stacks")
            with spying(server, file) as spy:
                spy.until("Press Control-C")
                server.session(clients=scene.clients, rounds=scene.rounds)
                spy.process.send_signal(signal.SIGINT)
                spy.finished()
            return stacks(file.read_text())


def spying(server: Server, file: Path) -> Process:
    """py-spy on the server, until SIGINT."""
    words = ("record", "--pid", str(server.pid), "--format", "raw", "--nonblocking")
    return Process(UV, "tool", "run", "-q", "py-spy", *words, "--rate", str(RATE), "--output", file, folder=file.parent)


def publish(found: Sequence[tuple[Scene, dict[Stack, int]]]) -> None:
    """Pictures, and what stands out of them."""
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    parts = [
        f"`make flames`, {when}. {here().line}. All threads of the server that were not waiting; orange is fedk's code."
    ]
    for scene, samples in found:
        file = page.DOCS / "images" / f"flame-{scene.name}.svg"
        file.write_text(drawn(samples, scene.title), "utf-8")
        largest = costs(samples, COSTS)
        parts += [f"### {scene.title}", f"![{scene.title}](images/{file.name})"]
        parts.append("\n".join(f"{n}. {share:.0%}: {name}" for n, (name, share) in enumerate(largest, 1)))
    page.write("flames", "\n\n".join(parts))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="just enough to see that it can be done; writes nothing")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupted)
    found = []
    for scene in QUICK if given.quick else FULL:
        with bounded(SECONDS):
            found.append((scene, seen(scene)))
        for name, share in costs(found[-1][1], COSTS):
            print(f"{scene.title:40} {share:>5.0%}  {name}", flush=True)
    if not given.quick:
        publish(found)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
