"""How long `fedk plugins list` looks among 600 installed distributions, ten of which bring plugins."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.process import BIN
from benchmarks.row import Row
from benchmarks.scale import Scale
from benchmarks.starting import TRIES, seconds

DISTRIBUTIONS, PLUGINS = 600, 10
IMPORTS = "import fedk.cli.plugins, fedk.catalogue.scan, fedk.catalogue.selection"


def furnish(folder: Path) -> None:
    """As installers write them: metadata of some length, entry points in all."""
    for number in range(DISTRIBUTIONS):
        group = "fedk.aggregators" if number % (DISTRIBUTIONS // PLUGINS) == 0 else "console_scripts"
        info = folder / f"dist_{number}-1.0.dist-info"
        info.mkdir()
        head = f"Metadata-Version: 2.4\nName: dist-{number}\nVersion: 1.0\nSummary: Number {number}\nRequires-Dist: fedk>=0.1\n"
        (info / "METADATA").write_text(head + "\n" + "A line of its description.\n" * 100)
        (info / "entry_points.txt").write_text(f"[{group}]\np{number} = dist_{number}:Plugin\n")


def measure(scale: Scale) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="fedk-bench-") as folder:
        furnish(Path(folder))
        tries = scale(TRIES, 1)
        os.environ["PYTHONPATH"] = folder
        try:
            started = seconds([sys.executable, "-c", IMPORTS], tries)
            listed = seconds([BIN / "fedk", "plugins", "list", "--json"], tries)
        finally:
            del os.environ["PYTHONPATH"]
    name = f"plugins list, {DISTRIBUTIONS} distributions more"
    yield Row(name, 1000 * (listed - started), "ms", "start and imports", 1000 * started, target=100)
