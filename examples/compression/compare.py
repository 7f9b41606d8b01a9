"""What updates travel in, on the digits: the bytes that a client sends in a round, and what becomes of the model.

    python examples/compression/compare.py

Each codec is a federation of processes for each split of the images: five clients, the same first model, the same seed.
Accuracies are of the 360 images that no client holds; `bytes` are those that the server received for an update, with
all that goes around it.
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

from safetensors.numpy import load_file

DIGITS = Path(__file__).resolve().parents[1] / "digits"

if TYPE_CHECKING:  # mypy knows the file by its place in the repository
    from examples.digits.client import app, digits
else:
    sys.path.insert(0, str(DIGITS))
    from client import app, digits

CLIENTS = 5
CODECS: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "none": ("", {}),
    "zstd": ("zstd", {}),
    "float16": ("float16", {}),
    "bfloat16": ("bfloat16", {}),
    "int8": ("int8", {}),
    "top-k 10 %": ("top-k", {"fraction": 0.1}),
    "top-k 1 %": ("top-k", {"fraction": 0.01}),
}


@dataclass(frozen=True)
class Found:
    """How one codec fared, in the mean of the splits."""

    codec: str
    bytes: float  # received for one update
    accuracy: float
    models: tuple[str, ...]  # hash of each split's last model


def fedk(*words: str | Path) -> str:
    """What a command prints; the `fedk` of this very environment."""
    command = [str(Path(sys.executable).with_name("fedk")), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}\n{done.stderr.rstrip()}")
    return done.stdout


def federate(codec: str, rounds: int, seed: int) -> tuple[float, float, str]:
    """Bytes of an update, accuracy, and hash of the model."""
    use, settings = CODECS[codec]
    given = {"codec.use": use, **{f"codec.{use}.{key}": value for key, value in settings.items()}, "seed": seed}
    rules = [word for key, value in given.items() for word in ("--set", f"{key}={value}")]
    with tempfile.TemporaryDirectory() as folder:
        words = ("--clients", str(CLIENTS), "--rounds", str(rounds), "--option", f"split_seed={seed}")
        fedk("run", f"{DIGITS / 'client.py'}:app", *words, *rules, "--data-dir", folder)
        events = [
            json.loads(line) for line in fedk("session", "watch", "latest", "--data-dir", folder, "--json").splitlines()
        ]
        made = [event["body"] for event in events if event["type"] == "round.committed" and event["body"]["round"] > 0]
        file = Path(folder) / "model.safetensors"
        fedk("model", "get", f"{made[-1]['name']}/{rounds}", "--data-dir", folder, "-o", file)
        _, test = digits()
        accuracy = float(app.with_weights(load_file(file)).score(*test))
    return received(made) / (rounds * CLIENTS), accuracy, made[-1]["model"]


def received(rounds: Sequence[Mapping[str, Any]]) -> float:
    """Bytes of all rounds."""
    return float(sum(body["received"] for body in rounds))


def compare(codec: str, rounds: int, seeds: Sequence[int]) -> Found:
    """Over all splits."""
    sizes, accuracies, models = zip(*(federate(codec, rounds, seed) for seed in seeds), strict=True)
    return Found(codec, fmean(sizes), fmean(accuracies), models)


def table(found: Sequence[Found]) -> str:
    """For people."""
    most = found[0].bytes
    lines = [" codec         bytes an update    share   accuracy   the model"]
    for one in found:
        same = "to the bit" if one is not found[0] and one.models == found[0].models else ""
        lines.append(
            f" {one.codec:<12} {one.bytes:>16,.0f} {one.bytes / most:>8.1%} {one.accuracy:>10.3f}   {same}".rstrip()
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seeds", type=lambda text: [int(one) for one in text.split(",")], default=[1, 2, 3])
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(CODECS), help="none,float16")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    given = parser.parse_args(arguments)
    found = []
    for codec in given.only:
        print(f"{codec} …", end=" ", flush=True, file=sys.stderr)
        found.append(compare(codec, given.rounds, given.seeds))
    print(file=sys.stderr)
    print(json.dumps([asdict(one) for one in found]) if given.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
