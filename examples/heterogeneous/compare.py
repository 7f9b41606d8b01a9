"""Aggregators where each client knows two digits of ten: rounds until nine of ten images are named rightly.

    python examples/heterogeneous/compare.py --plot docs/images/heterogeneous.svg

Each is a federation of its own in this process: ten clients that take 1 to 5 passes a round, the same first model, the
same seed. Accuracies are of the images that no client trained on, over all clients and of the client that fares worst.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fedk
from fedk_client import Client

if TYPE_CHECKING:  # mypy knows the file by its place in the repository
    from examples.heterogeneous.client import app, data, right
else:
    from client import app, data, right

CLIENTS = 10
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "fedavg": {},
    "fedprox": {"proximal_mu": 0.01, "weighting": "examples"},
    "scaffold": {},
    "fednova": {},
    "fedadam": {"learning_rate": 0.03},
    "fedyogi": {"learning_rate": 0.1},
    "qfedavg": {"q": 0.1, "client_learning_rate": 0.1},
}
"""The better of two tries for fedadam, fedyogi, fedprox and qfedavg; one for the others."""


@dataclass(frozen=True)
class Course:
    """How one aggregator fared."""

    aggregator: str
    accuracy: tuple[float, ...]  # of the model that each round made
    worst: float  # client's accuracy with the last model

    def reached(self, target: float) -> int | None:
        """The first round whose model is that good."""
        return next((number for number, share in enumerate(self.accuracy, 1) if share >= target), None)


def course(aggregator: str, rounds: int) -> Course:
    """Run its session."""
    rules = {
        "seed": 1,
        "clients": {"min": CLIENTS},
        "aggregator": {"use": aggregator, aggregator: SETTINGS[aggregator]},
    }
    run = fedk.run(app, clients=CLIENTS, rounds=rounds, rules=rules, show=False)
    measured = {row["round"]: row["validate.accuracy"] for row in run.metrics if "validate.accuracy" in row}
    owns = [data(Client(f"client-{part + 1}", part, CLIENTS)) for part in range(CLIENTS)]
    net = app.with_weights(run.model)
    return Course(
        aggregator,
        tuple(measured[number] for number in range(1, rounds + 1)),
        min(float(right(net, own.validate).mean()) for own in owns),
    )


def table(courses: Sequence[Course], target: float) -> str:
    """For people."""
    lines = [f" aggregator   rounds to {target:.0%}   accuracy at the end   worst client"]
    for one in courses:
        reached = one.reached(target) or f"not in {len(one.accuracy)}"
        lines.append(f" {one.aggregator:<10} {reached:>15} {one.accuracy[-1]:>21.3f} {one.worst:>14.3f}")
    return "\n".join(lines)


def plot(courses: Sequence[Course], target: float, file: Path) -> None:
    """Accuracy by round, one line each."""
    from matplotlib import pyplot, ticker  # noqa: PLC0415 — the table does without it

    pyplot.rcParams["svg.hashsalt"] = "fedk"  # the same file for the same numbers
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for one in courses:
        axes.plot(range(1, len(one.accuracy) + 1), one.accuracy, label=one.aggregator, linewidth=1.5)
    axes.axhline(target, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="round", ylabel="accuracy", ylim=(0.0, 1.0), title="Ten clients, two digits each")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.legend(frameon=False, ncols=2)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--target", type=float, default=0.9)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(SETTINGS), help="fedavg,scaffold")
    parser.add_argument("--plot", type=Path, help="write the curves to this file: .svg or .png")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    given = parser.parse_args(arguments)
    courses = []
    for aggregator in given.only:
        print(f"{aggregator} …", end=" ", flush=True, file=sys.stderr)
        courses.append(course(aggregator, given.rounds))
    print(file=sys.stderr)
    if given.plot:
        plot(courses, given.target, given.plot)
    print(json.dumps([asdict(one) for one in courses]) if given.json else table(courses, given.target))
    return 0


if __name__ == "__main__":
    sys.exit(main())
