"""How long people wait for a command: the interpreter's own start beside it."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from report import Row, told

TRIES = 5
FREE = {"FEDK_SERVER__LISTEN": "127.0.0.1:0", "FEDK_SERVER__ADMIN": "127.0.0.1:0"}


def seconds(command: Sequence[str]) -> float:
    """Median, from its start to its end."""
    spent = []
    for _ in range(TRIES):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        spent.append(time.perf_counter() - began)
    return median(spent)


def until_ready(folder: str) -> float:
    """From the start of `fedk server` to its first line; then it is asked to end."""
    began = time.perf_counter()
    command, env = ["fedk", "server"], os.environ | FREE
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None  # noqa: S101  # a pipe was asked for
        line = server.stdout.readline()
        spent = time.perf_counter() - began
        server.terminate()
    if ", ready" not in line:
        raise RuntimeError(f"fedk server said {line!r}")
    return spent


def measure() -> Iterator[Row]:
    python = seconds([sys.executable, "-c", ""])
    yield told(
        Row("fedk --version", 1000 * seconds(["fedk", "--version"]), "ms", "python -c '', ms", 1000 * python, 150)
    )
    listed = 1000 * seconds(["fedk", "plugins", "list"])
    yield told(Row("fedk plugins list", listed, "ms", "python -c '', ms", 1000 * python))
    with tempfile.TemporaryDirectory(prefix="fedk-bench-") as folder:
        new = until_ready(folder)
        yield told(Row("server ready, new directory", new, "s", "python -c '', s", python, 3))
        again = median(until_ready(folder) for _ in range(TRIES))
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        yield told(Row(f"server ready, again ({size / 1e6:.1f} MB)", again, "s", "python -c '', s", python, 3))
