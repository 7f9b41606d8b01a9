"""How long people wait for a command and for a server: the interpreter and the libraries by themselves beside it."""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from statistics import median

from benchmarks.process import BIN
from benchmarks.row import Row
from benchmarks.scale import Scale
from benchmarks.server import Server

TRIES = 5
KINDS = ("aggregators", "balancers", "storage", "db", "codecs", "hooks")
IMPORTED = re.compile(r"import time:\s+\d+ \|\s+\d+ \|\s+(\S+)")
BARE = """
import importlib, sys
for name in sys.argv[1].split(","):
    try:
        importlib.import_module(name)
    except ImportError:  # part of another, which brings it
        pass
"""


def seconds(command: Sequence[str | Path], tries: int = TRIES) -> float:
    """Median, from its start to its end."""
    return median(once(command) for _ in range(tries))


def once(command: Sequence[str | Path]) -> float:
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def until_ready(folder: Path) -> float:
    """From the start of `fedk server` to its first line; then it is asked to end."""
    began = time.perf_counter()
    with Server(folder):
        return time.perf_counter() - began


def libraries(folder: Path) -> list[str]:
    """What a server has imported once it serves, but for what is its own, in that order."""
    with Server(folder, PYTHONPROFILEIMPORTTIME="1") as server:
        names = [found[1] for line in server.heard if (found := IMPORTED.match(line))]
    return [name for name in names if not name.startswith("fedk")]


def server(scale: Scale) -> Iterator[Row]:
    """Ready with all plugins that are installed, beside the import of the same libraries: turn by turn."""
    plugins = sum(len(entry_points(group=f"fedk.{kind}")) for kind in KINDS)
    ours, theirs, python = [], [], []
    with tempfile.TemporaryDirectory(prefix="fedk-bench-") as name:
        folder = Path(name)
        bare = [sys.executable, "-c", BARE, ",".join(libraries(folder))]
        for _ in range(scale(TRIES, 1)):
            ours.append(until_ready(folder))
            theirs.append(once(bare))
            python.append(once([sys.executable, "-c", ""]))
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    beside = ("its libraries", median(theirs))
    yield Row(f"server ready, {plugins} plugins", median(ours), "s", *beside, target=1.5, relative=True)
    yield Row(f"the same, and its data ({size / 1e6:.1f} MB)", median(ours), "s", "python", median(python), target=3)
    with tempfile.TemporaryDirectory(prefix="fedk-bench-") as name:
        yield Row("server ready, new directory", until_ready(Path(name)), "s", "python", median(python), target=3)


def commands(scale: Scale) -> Iterator[Row]:
    """What is typed most."""
    tries = scale(TRIES, 1)
    python = ("python", 1000 * seconds([sys.executable, "-c", ""], tries))
    yield Row("fedk --version", 1000 * seconds([BIN / "fedk", "--version"], tries), "ms", *python, target=150)
    yield Row("fedk plugins list", 1000 * seconds([BIN / "fedk", "plugins", "list"], tries), "ms", *python)
