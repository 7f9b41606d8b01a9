"""Two liars among twelve clients: which aggregators hold, beside the same federation without them.

    python examples/attack/compare.py --plot docs/images/attack.svg

Each is a federation of its own in this process: twelve clients with like images, the same first model, the same seed.
Accuracies are of images that no client trained on. An aggregator holds if it ends within three points of FedAvg among
honest clients only.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fedk

if TYPE_CHECKING:  # mypy knows the file by its place in the repository
    from examples.attack.client import app
else:
    from client import app

CLIENTS, LIARS, SCALE = 12, 2, 10.0
POINTS = 0.03
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "fedavg": {},
    "krum": {"byzantine": LIARS},
    "multi-krum": {"byzantine": LIARS},
    "trimmed-mean": {"beta": 0.2},
    "fedmedian": {},
    "geometric-median": {},
    "bulyan": {"byzantine": LIARS},
}


@dataclass(frozen=True)
class Course:
    """How one aggregator fared."""

    aggregator: str
    liars: int
    accuracy: tuple[float, ...]  # of the model that each round made, as far as there were rounds
    why: str  # it ended early

    @property
    def end(self) -> float:
        return self.accuracy[-1]

    @property
    def label(self) -> str:
        return self.aggregator if self.liars else f"{self.aggregator}, all honest"


def course(aggregator: str, liars: int, rounds: int) -> Course:
    """Run its session."""
    rules = {
        "seed": 1,
        "clients": {"min": CLIENTS},
        "aggregator": {"use": aggregator, aggregator: SETTINGS[aggregator]},
    }
    settings = {"liars": liars, "scale": SCALE}
    run = fedk.run(app, clients=CLIENTS, rounds=rounds, rules=rules, settings=settings, show=False)
    measured = {row["round"]: row["validate.accuracy"] for row in run.metrics if "validate.accuracy" in row}
    return Course(aggregator, liars, tuple(measured[n] for n in sorted(measured) if n), run.why)


def table(courses: Sequence[Course]) -> str:
    """For people; the first is what the others are compared with."""
    clean = courses[0]
    lines = [f" aggregator              liars   accuracy after {len(clean.accuracy)} rounds"]
    for one in courses:
        holds = "" if not one.liars else "holds" if one.end >= clean.end - POINTS else "does not hold"
        lines.append(f" {one.label:<22} {one.liars:>2} of {CLIENTS} {one.end:>16.3f}   {holds}")
    return "\n".join(lines)


def plot(courses: Sequence[Course], file: Path) -> None:
    """Accuracy by round, one line each."""
    from matplotlib import pyplot, ticker  # noqa: PLC0415 — the table does without it

    pyplot.rcParams["svg.hashsalt"] = "fedk"  # the same file for the same numbers
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for one in courses:
        style: dict[str, Any] = {} if one.liars else {"color": "grey", "linestyle": ":"}
        axes.plot(range(1, len(one.accuracy) + 1), one.accuracy, label=one.label, linewidth=1.5, **style)
    axes.set(xlabel="round", ylabel="accuracy", ylim=(0.0, 1.0), title="Twelve clients, two of them liars")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.legend(frameon=False, ncols=2)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(SETTINGS), help="fedavg,krum")
    parser.add_argument("--plot", type=Path, help="write the curves to this file: .svg or .png")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    given = parser.parse_args(arguments)
    courses = []
    for aggregator, liars in [("fedavg", 0), *((name, LIARS) for name in given.only)]:
        print(f"{aggregator} …", end=" ", flush=True, file=sys.stderr)
        courses.append(course(aggregator, liars, given.rounds))
    print(file=sys.stderr)
    if given.plot:
        plot(courses, given.plot)
    print(json.dumps([asdict(one) for one in courses]) if given.json else table(courses))
    return 0


if __name__ == "__main__":
    sys.exit(main())
