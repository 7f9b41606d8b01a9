"""How long `fedk plugins list` looks among 600 installed distributions, ten of which bring plugins."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from report import Row, told
from starting import seconds

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


def measure() -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="fedk-bench-") as folder:
        furnish(Path(folder))
        os.environ["PYTHONPATH"] = folder
        try:
            started = seconds([sys.executable, "-c", IMPORTS])
            listed = seconds(["fedk", "plugins", "list", "--json"])
        finally:
            del os.environ["PYTHONPATH"]
    name = f"plugins list, {DISTRIBUTIONS} distributions more"
    yield told(Row(name, 1000 * (listed - started), "ms", "start and imports, ms", 1000 * started, 100))
