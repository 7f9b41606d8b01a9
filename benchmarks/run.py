"""`make bench`: what fedk costs on this machine, beside what the machine can do. Loopback only; ends what it starts.

    python -m benchmarks.run [--quick] [--only SECTION]… [--to FILE]

Prints a row as it is found, ending in `met` or `miss` where there is a target. Writes benchmarks/latest.json, in which
other sections stay as they were, and once all have been measured the tables and curves of docs/benchmarks.md. --quick
measures just enough to see that it can, and writes no page. Exit 1 where a row misses.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from benchmarks import aggregation, curves, fold, idle, law, listing, memory, page, rounds, sessions, starting, tier
from benchmarks.machine import here
from benchmarks.plot import plot
from benchmarks.process import end_all
from benchmarks.row import Row, read
from benchmarks.scale import Scale

LATEST = Path(__file__).with_name("latest.json")


def aggregated(scale: Scale) -> Iterator[Row]:
    """The rows of aggregation.py, which has a table of its own."""
    wanted = aggregation.ROWS[: scale(len(aggregation.ROWS), 1)]
    for row, found in zip(wanted, aggregation.measure(wanted).values(), strict=True):
        value = found.gigabytes / found.seconds if row.rate else found.seconds
        yield Row(row.name, value, "GB/s" if row.rate else "s", target=row.rate or row.seconds, more=bool(row.rate))


@dataclass(frozen=True)
class Section:
    """What is measured together."""

    title: str
    measure: Callable[[Scale], Iterator[Row]]
    seconds: int  # that it may take: a benchmark that hangs must end

    def rows(self, scale: Scale) -> Iterator[Row]:
        """What cannot be measured is a miss, with its reason."""
        try:
            with bounded(self.seconds):
                yield from self.measure(scale)
        except Exception as error:  # noqa: BLE001  # whatever went wrong is what the row says
            yield Row(self.title, reason=f"{error}" or type(error).__name__)


SECTIONS = {
    "ten": Section("round, 10 clients", rounds.ten, 120),
    "thousand": Section("round, 1,000 clients", rounds.thousand, 240),
    "large": Section("round, 4 clients × 100 MB", rounds.large, 300),
    "law": Section("server's memory, 4 and 16 × 100 MB", law.hundred, 400),
    "gigabyte": Section("server's memory, 4 × 1,000 MB", law.gigabyte, 400),
    "tier": Section("round over combiners", tier.measure, 900),
    "fold": Section("fold into float64", fold.measure, 120),
    "sessions": Section("100 open sessions × 100 MB", sessions.measure, 600),
    "idle": Section("idle client, of 5,000 connected", idle.measure, 240),
    "server": Section("server ready", starting.server, 120),
    "commands": Section("commands", starting.commands, 60),
    "listing": Section("plugins list", listing.measure, 120),
    "memory": Section("the machine itself", memory.measure, 60),
    "aggregation": Section("aggregation", aggregated, 600),
    "curves": Section("curves", curves.measure, 600),
}
PEERS = "peers"
"""Section that `make bench-peers` writes."""

TABLE = ("ten", "thousand", "large", "law", "gigabyte", "fold", "sessions", "idle", "server")  # of the page's targets


@contextmanager
def bounded(seconds: int) -> Iterator[None]:
    """TimeoutError after so many."""

    def late(*_: object) -> NoReturn:
        raise TimeoutError(f"not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        end_all()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def measured(asked: Sequence[str], scale: Scale, latest: dict[str, Any], file: Path) -> list[Row]:
    """All rows, told as they are found; the file is written after each section."""
    found: list[Row] = []
    for name in asked:
        began, machine, rows = time.time(), here().document(), []
        for row in SECTIONS[name].rows(scale):
            print(row.line(), flush=True)
            rows.append(row)
        latest["sections"][name] = section(rows, began, machine, quick=scale.quick)
        found += rows
        write(file, latest)
    return found


def section(rows: Sequence[Row], began: float, machine: dict[str, Any], *, quick: bool) -> dict[str, Any]:
    """As the document has it."""
    return {"at": began, "quick": quick, "machine": machine, "rows": [row.document() for row in rows]}


def read_latest(file: Path) -> dict[str, Any]:
    """What was found before, by section."""
    before = json.loads(file.read_text()) if file.exists() else {}
    return {"sections": {name: one for name, one in before.get("sections", {}).items() if name in (*SECTIONS, PEERS)}}


def write(file: Path, latest: dict[str, Any]) -> None:
    file.write_text(json.dumps(latest, indent=2, ensure_ascii=False) + "\n")


def keep(file: Path, name: str, rows: Sequence[Row], *, quick: bool) -> None:
    """Put one section into the document; the others stay."""
    latest = read_latest(file)
    latest["sections"][name] = section(rows, time.time(), here().document(), quick=quick)
    write(file, latest)


def told(rows: Sequence[Row]) -> int:
    """Say which rows miss; the exit code."""
    missed = [row.name for row in rows if row.verdict == "miss"]
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


def publish(latest: dict[str, Any]) -> None:
    """The page's tables and curves, from all sections."""
    sections = [latest["sections"][name] for name in SECTIONS]
    rows = {name: [read(row) for row in latest["sections"][name]["rows"]] for name in SECTIONS}
    began, ended = min(one["at"] for one in sections), max(one["at"] for one in sections)
    loads = [one["machine"]["load"] for one in sections]
    when = f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(began))} to {time.strftime('%H:%M', time.gmtime(ended))} UTC"
    about = f"`make bench`, {when}. {here().line}; {min(loads):.1f} to {max(loads):.1f} before its sections."
    page.write("targets", f"{about}\n\n{page.table(row for name in TABLE for row in rows[name])}")
    others = [name for name in SECTIONS if name not in (*TABLE, "curves", "tier")]
    page.write("others", page.table(row for name in others for row in rows[name]))
    pictures = plot(rows["curves"], page.DOCS / "images")
    shown = "\n".join(f"![{file.stem}](images/{file.name})" for file in pictures)
    page.write("curves", f"{shown}\n\n{page.table(rows['curves'])}")


def publish_tier(latest: dict[str, Any]) -> None:
    """The page's table of combiners, which `make bench-tier` writes alone."""
    section = latest["sections"]["tier"]
    about = f"`make bench-tier`, {time.strftime('%Y-%m-%d %H:%M', time.gmtime(section['at']))} UTC, on {here().line}."
    page.write("tier", f"{about}\n\n{page.table(map(read, section['rows']))}")


def interrupted(*_: object) -> NoReturn:
    """SIGTERM ends it as Ctrl-C does: with all that it has started."""
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", action="append", choices=SECTIONS, help="this section; may be given several times")
    parser.add_argument("--quick", action="store_true", help="just enough to see that it can be measured")
    parser.add_argument("--to", type=Path, default=LATEST, metavar="FILE", help="the JSON document")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupted)
    machine = here()
    if machine.load > 1:
        print(f"the machine is busy (load {machine.load:.1f}): times are too long", file=sys.stderr)
    latest = read_latest(given.to)
    found = measured(given.only or list(SECTIONS), Scale(quick=given.quick), latest, given.to)
    sections = [one for name, one in latest["sections"].items() if name in SECTIONS]
    if given.to == LATEST and len(sections) == len(SECTIONS) and not any(one["quick"] for one in sections):
        publish(latest)
    if given.to == LATEST and not given.quick and "tier" in (given.only or SECTIONS):
        publish_tier(latest)
    return told(found)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
