"""Rounds beside buffers where clients are of unlike speed: how long until nine of ten images are named rightly.

    python examples/asynchronous/compare.py --plot docs/images/asynchronous.svg

Each is a federation of its own on this machine: ten client processes, the slowest ten times as slow as the fastest, the
same first model, the same number of updates. Accuracies are of images that no client trained on, of every committed model.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.numpy import load_file

if TYPE_CHECKING:  # mypy knows the file by its place in the repository
    from examples.asynchronous.client import app, digits
else:
    from client import app, digits

HERE = Path(__file__).parent
AGGREGATORS = ("fedavg", "fedbuff", "fedasync")
MAX_STALENESS = 100
"""Nothing is refused as stale: how much less it counts is the aggregator's."""


@dataclass(frozen=True)
class Course:
    """How one aggregator fared: a number for each model, the initial one first."""

    aggregator: str
    mode: str
    seconds: tuple[float, ...]  # since the first model was there
    updates: tuple[int, ...]  # that are in it and those before it
    accuracy: tuple[float, ...]

    def reached(self, target: float) -> int | None:
        """The first model that is so good."""
        return next((number for number, share in enumerate(self.accuracy) if share >= target), None)


def buffer(aggregator: str, clients: int) -> int:
    """Updates that make a model: those of a round, or as many as came first."""
    return {"fedavg": clients, "fedbuff": round(0.3 * clients), "fedasync": 1}[aggregator]


def rules(aggregator: str, clients: int) -> Mapping[str, Any]:
    """What its session says, beside the rounds."""
    mode: Mapping[str, Any] = {"mode": "sync", "clients.min": clients}
    if aggregator != "fedavg":
        mode = {"mode": "async", "async.buffer": buffer(aggregator, clients), "async.max_staleness": MAX_STALENESS}
    return {"seed": 1, "validation.every": 0, "aggregator.use": aggregator, **mode}


def course(aggregator: str, clients: int, updates: int, seconds: float) -> Course:
    """Run its session, and measure all its models."""
    each = buffer(aggregator, clients)
    given = {"seconds": seconds, **rules(aggregator, clients)}
    words = [word for key, value in given.items() for word in ("--set", f"{key}={value}")]
    count = ("--clients", str(clients), "--rounds", str(updates // each))
    with tempfile.TemporaryDirectory() as folder:
        fedk("run", f"{HERE / 'client.py'}:app", *count, *words, "--data-dir", folder)
        models = fedk("model", "trail", "latest", "--data-dir", folder)["models"]
        files = {path.name: path for path in Path(folder).rglob("blobs/**/*")}
        return Course(
            aggregator,
            str(given["mode"]),
            tuple(round(model["committed_at"] - models[0]["committed_at"], 3) for model in models),
            tuple(each * model["round"] for model in models),
            tuple(accuracy(files[model["sha256"]]) for model in models),
        )


def fedk(*words: str | Path) -> Any:
    """The JSON that a command prints; the `fedk` of this very environment."""
    command = [str(Path(sys.executable).with_name("fedk")), *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}\n{done.stderr.rstrip()}")
    return json.loads(done.stdout)


def accuracy(file: Path) -> float:
    """Share of the test images that it names rightly."""
    return float(app.with_weights(load_file(file)).score(*digits().test))


def table(courses: Sequence[Course], target: float) -> str:
    """For people."""
    lines = [f" aggregator   mode    seconds to {target:.0%}   models   updates   accuracy at the end   after"]
    for one in courses:
        at = one.reached(target)
        reached = (f"{one.seconds[at]:.1f}", at, one.updates[at]) if at is not None else ("not reached", "", "")
        lines.append(
            f" {one.aggregator:<10}   {one.mode:<5} {reached[0]:>16} {reached[1]:>8} {reached[2]:>9} "
            f"{one.accuracy[-1]:>21.3f} {one.seconds[-1]:>6.1f} s"
        )
    return "\n".join(lines)


def plot(courses: Sequence[Course], target: float, file: Path) -> None:
    """Accuracy by time, one line each."""
    from matplotlib import pyplot  # noqa: PLC0415 — the table does without it

    pyplot.rcParams["svg.hashsalt"] = "fedk"  # the same file for the same numbers
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for one in courses:
        label = f"{one.aggregator}, {one.mode}"
        axes.plot(one.seconds, one.accuracy, label=label, linewidth=1.5, drawstyle="steps-post")
    axes.axhline(target, color="grey", linewidth=0.8, linestyle=":")
    axes.set(
        xlabel="seconds",
        ylabel="accuracy",
        ylim=(0.0, 1.0),
        title="Accuracy by time, the slowest client ten times as slow as the fastest",
    )
    axes.legend(frameon=False, loc="lower right")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--updates", type=int, default=300, help="of all clients together, for each aggregator")
    parser.add_argument("--seconds", type=float, default=0.2, help="that the fastest client trains")
    parser.add_argument("--target", type=float, default=0.9)
    parser.add_argument("--only", type=lambda text: text.split(","), default=AGGREGATORS, help="fedavg,fedbuff")
    parser.add_argument("--plot", type=Path, help="write the curves to this file: .svg or .png")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    given = parser.parse_args(arguments)
    courses = []
    for aggregator in given.only:
        print(f"{aggregator} …", end=" ", flush=True, file=sys.stderr)
        courses.append(course(aggregator, given.clients, given.updates, given.seconds))
    print(file=sys.stderr)
    if given.plot:
        plot(courses, given.target, given.plot)
    print(json.dumps([asdict(one) for one in courses]) if given.json else table(courses, given.target))
    return 0


if __name__ == "__main__":
    sys.exit(main())
