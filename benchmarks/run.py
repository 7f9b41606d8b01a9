"""`make bench`: what fedk costs on this machine, beside what the machine can do. Loopback only; ends what it starts.

    python benchmarks/run.py [--only rounds|starting|memory|aggregation]…

Prints a table as it goes, and writes benchmarks/latest.json. Exit 1 where a target is missed.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import time

import aggregation
import listing
import memory
import rounds
import starting
from report import Row

LATEST = Path(__file__).with_name("latest.json")


def folding() -> Iterator[Row]:
    """The rows of aggregation.py, which has a table of its own."""
    wanted = {row.name: row for row in aggregation.ROWS}
    for name, found in aggregation.measure().items():
        row = wanted[name]
        value = found.gigabytes / found.seconds if row.rate else found.seconds
        yield Row(name, value, "GB/s" if row.rate else "s", target=row.rate or row.seconds, more=bool(row.rate))


SECTIONS: dict[str, Callable[[], Iterable[Row]]] = {
    "rounds": rounds.measure,
    "starting": starting.measure,
    "listing": listing.measure,
    "memory": memory.measure,
    "aggregation": folding,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", action="append", choices=SECTIONS, help="this section; may be given several times")
    asked = parser.parse_args().only or list(SECTIONS)
    busy = os.getloadavg()[0]
    if busy > 1:
        print(f"the machine is busy (load {busy:.1f}): times are too long", file=sys.stderr)
    found = {section: list(SECTIONS[section]()) for section in asked}
    document = {
        "at": time(),
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "load": busy,
            "system": platform.platform(),
        },
        "sections": {section: [row.document() for row in rows] for section, rows in found.items()},
    }
    LATEST.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    missed = [row.name for rows in found.values() for row in rows if row.ok is False]
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
