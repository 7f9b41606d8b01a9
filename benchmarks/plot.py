"""The curves as pictures."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.row import Row

AXES = {
    "clients": ("clients of 40 kB", "ms a round"),
    "model": ("MB of a model, 4 clients", "ms a round"),
    "updates": ("updates of 20 MB that are folded", "ms for each"),
}


def plot(rows: Sequence[Row], folder: Path) -> list[Path]:
    """A file for each curve."""
    from matplotlib import pyplot  # noqa: PLC0415  # the tables do without it

    pyplot.rcParams["svg.hashsalt"] = "fedk"  # the same file for the same numbers
    files = []
    for curve, (x, y) in AXES.items():
        points = [(row.x, row.value) for row in rows if row.curve == curve and row.x and row.value]
        figure, axes = pyplot.subplots(figsize=(5, 3), layout="constrained")
        axes.loglog(*zip(*points, strict=True), marker="o", linewidth=1.5)
        axes.set(xlabel=x, ylabel=y)
        axes.grid(visible=True, alpha=0.3)
        files.append(folder / f"bench-{curve}.svg")
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(files[-1], metadata={"Date": None})
        pyplot.close(figure)
    return files
