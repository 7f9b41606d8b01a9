"""What the federation was worth: its model beside each client training alone, and beside all images in one place.

    python examples/digits/compare.py --data-dir demo-data

All three train with client.py's own `train`: the same model from the same first weights, the same optimiser, the same
passes over each image. `--seeds 1,2,3` deals the images anew for each seed, runs a federation, and checks the result.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from fedk_client import Client, Task

if TYPE_CHECKING:  # mypy knows the file by its place in the repository
    from examples.digits.client import Digits, Own, app, data, digits, train
else:
    from client import Digits, Own, app, data, digits, train

HERE = Path(__file__).parent
GAIN, LOSS = 0.10, 0.02
"""Federated must be so far above the mean of alone, and may be so far below centralised."""
CLIENTS, ROUNDS, EPOCHS = 5, 20, 2
"""Of the federations that --seeds runs."""

Weights = Mapping[str, NDArray[Any]]


class Unusable(Exception):  # named as what the data directory is
    """There is nothing to compare; the text says why, and what to do."""


@dataclass(frozen=True)
class Run:
    """A finished session, as its data directory tells it."""

    name: str
    seed: int
    epochs: int
    first: Weights
    last: Weights
    rounds: int
    examples: tuple[int, ...]  # of each client, in the order of the parts


@dataclass(frozen=True)
class Comparison:
    """Accuracies on the images that nobody trained on."""

    federated_accuracy: float
    alone_accuracy: float  # mean of `alone`
    centralised_accuracy: float
    alone: tuple[float, ...]  # by client

    @property
    def holds(self) -> bool:
        gain = self.federated_accuracy - self.alone_accuracy
        return gain >= GAIN and self.federated_accuracy >= self.centralised_accuracy - LOSS


def fedk(*words: str | Path) -> Any:
    """The JSON that a command prints; the `fedk` of this very environment."""
    command = [str(Path(sys.executable).with_name("fedk")), *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unusable(f"{' '.join(command)} ended with {done.returncode}\n{done.stderr.rstrip()}")
    return json.loads(done.stdout)


def read(data_dir: Path, session: str) -> Run:
    """The session's newest model, its first one, and how it was trained."""
    shown = fedk("session", "show", session, "--data-dir", data_dir)
    if shown["head"] is None or shown["head"]["round"] == 0:
        raise Unusable(f"session {shown['name']} has no trained model yet: see fedk session show --data-dir {data_dir}")
    name, rules, rounds = shown["name"], shown["rules"], shown["head"]["round"]
    newest = fedk("model", "trail", name, "--round", str(rounds), "--data-dir", data_dir)["models"][-1]
    return Run(
        name=name,
        seed=rules["seed"],
        epochs=rules["client_settings"].get("epochs", EPOCHS),
        first=weights(data_dir, f"{name}/0"),
        last=weights(data_dir, f"{name}/{rounds}"),
        rounds=rounds,
        examples=tuple(update["num_examples"] for update in newest["updates"]),
    )


def weights(data_dir: Path, model: str) -> Weights:
    """A committed model, opened with the safetensors library: nothing of fedk is needed for it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        fedk("model", "get", model, "--data-dir", data_dir, "-o", file)
        return load_file(file)


def compare(run: Run, split_seed: int) -> Comparison:
    """Train alone and centralised as the federation was trained, and measure all on the test images."""
    parts = len(run.examples)
    options = {"split_seed": str(split_seed)}
    owns = [data(Client(f"client-{part + 1}", part, parts, options=options)) for part in range(parts)]
    if sorted(len(own.train.y) for own in owns) != sorted(run.examples):
        raise Unusable(f"{run.name} was not trained on split {split_seed} of {parts} parts: give its --split-seed")
    everything = Own(
        train=Digits(*(np.concatenate(column) for column in zip(*(own.train for own in owns), strict=True))),
        validate=owns[0].validate,
    )
    alone = tuple(accuracy(trained(run, own)) for own in owns)
    return Comparison(
        federated_accuracy=accuracy(run.last),
        alone_accuracy=fmean(alone),
        centralised_accuracy=accuracy(trained(run, everything)),
        alone=alone,
    )


def trained(run: Run, own: Own) -> Weights:
    """What the federation's rounds make of its first model, on these images alone."""
    now = run.first
    for number in range(1, run.rounds + 1):
        np.random.seed([run.seed % 2**32, number])  # as a client's generators are set before each task
        task = Task(own, round=number, settings={"epochs": run.epochs})
        now = app.weights(train(app.with_weights(now), task).model)
    return now


def accuracy(model: Weights) -> float:
    """Share of the test images that it names rightly."""
    _, test = digits()
    return float(app.with_weights(model).score(*test))


def federate(seed: int) -> Comparison:
    """A federation in a directory of its own, with everything drawn from `seed`."""
    with tempfile.TemporaryDirectory() as folder:
        words = ("--clients", str(CLIENTS), "--rounds", str(ROUNDS), "--option", f"split_seed={seed}")
        rules = ("--set", f"epochs={EPOCHS}", "--set", f"seed={seed}")
        fedk("run", f"{HERE / 'client.py'}:app", *words, *rules, "--data-dir", folder)
        return compare(read(Path(folder), "latest"), seed)


def table(found: Comparison) -> str:
    """For people, with a bar of 20 cells for each accuracy."""
    rows = [
        (f"each client alone (mean of {len(found.alone)})", found.alone_accuracy),
        ("federated, no image left its client", found.federated_accuracy),
        ("centralised, all images in one place", found.centralised_accuracy),
    ]
    _, test = digits()
    lines = [f" {len(test.y)} images nobody trained on            accuracy"]
    lines += [f" {name:<37} {value:>10.3f}    {bar(value):<20}" for name, value in rows]
    lines[1] += f"    {min(found.alone):.3f} … {max(found.alone):.3f}"
    return "\n".join(line.rstrip() for line in lines)


def bar(share: float, cells: int = 20) -> str:
    """In eighths of a cell."""
    full, eighths = divmod(round(share * cells * 8), 8)
    return "█" * full + " ▏▎▍▌▋▊▉"[eighths].strip()


HEAD = " split   alone   federated   centralised"


def line(seed: int, found: Comparison) -> str:
    """One split of several, below HEAD."""
    verdict = "ok" if found.holds else f"not {GAIN:.0%} above alone and within {LOSS:.0%} of centralised"
    accuracies = f"{found.alone_accuracy:>7.3f} {found.federated_accuracy:>11.3f} {found.centralised_accuracy:>13.3f}"
    return f"{seed:>6} {accuracies}   {verdict}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data-dir", type=Path, default=Path("demo-data"), help="where fedk run left its models")
    parser.add_argument("--session", default="latest")
    parser.add_argument("--split-seed", type=int, default=1, help="what the clients were given as option split_seed")
    parser.add_argument("--seeds", type=lambda text: [int(one) for one in text.split(",")], help="for example 1,2,3")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    given = parser.parse_args(arguments)
    try:
        return splits(given.seeds, as_json=given.json) if given.seeds else one(given)
    except Unusable as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 1


def one(given: argparse.Namespace) -> int:
    """The session of a data directory."""
    found = compare(read(given.data_dir, given.session), given.split_seed)
    print(json.dumps(asdict(found)) if given.json else table(found))
    return 0


def splits(seeds: Sequence[int], *, as_json: bool) -> int:
    """A federation for each seed; 1 where one was not worth it."""
    found: dict[int, Comparison] = {}
    print(HEAD, file=sys.stderr if as_json else sys.stdout, flush=True)
    for seed in seeds:
        found[seed] = federate(seed)
        print(line(seed, found[seed]), file=sys.stderr if as_json else sys.stdout, flush=True)
    if as_json:
        print(json.dumps({seed: asdict(comparison) for seed, comparison in found.items()}))
    return 0 if all(comparison.holds for comparison in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
