"""What a round costs beside the wire: ten echo clients with 40 kB, four with 100 MB."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import bare
from report import Row, told

ECHO = Path(__file__).resolve().parent.parent / "examples" / "echo" / "client.py"
PATIENCE = 300.0  # seconds for one federation: a benchmark that hangs must end


def seconds_per_round(clients: int, rounds: int, weights: int) -> float:
    """Median of `fedk run`, commit to commit."""
    with tempfile.TemporaryDirectory(prefix="fedk-bench-") as folder:
        command = ["fedk", "run", f"{ECHO}:app", "--clients", str(clients), "--rounds", str(rounds)]
        done = subprocess.run(
            [*command, "--data-dir", folder, "--json"],
            env=os.environ | {"ECHO_WEIGHTS": str(weights)},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}\n{done.stderr}")
    return float(json.loads(done.stdout)["seconds_per_round"])


def measure() -> Iterator[Row]:
    small = 1000 * seconds_per_round(10, 50, 10_000)
    wire = 1000 * bare.measure(10, 50, 40_100)
    yield told(Row("round, 10 clients, 40 kB", small, "ms", "grpc.aio alone, ms", wire, 100))
    large = seconds_per_round(4, 4, 25_000_000)
    yield told(Row("round, 4 clients, 100 MB", large, "s", target=10))
