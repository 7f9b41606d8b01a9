"""`make bench-peers`: the same work on fedk and on other servers, turn by turn in one run. Loopback; bounded in time.

    python -m benchmarks.peers [--quick] [--only flwr|nvflare]…

Installs each peer from the package index into an environment of its own below benchmarks/.peers. Prints fedk's time beside
each one's, `met` or `miss`; one that cannot be run is listed with its reason. A whole run writes the section `peers` of
benchmarks/latest.json and the table of docs/benchmarks.md. Exit 1 where a row misses.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import ModuleType

from benchmarks import page
from benchmarks.machine import here
from benchmarks.peers import fedn, flower, nvflare, ours
from benchmarks.peers.environment import Environment, cleared, installed
from benchmarks.peers.work import Work
from benchmarks.row import Row
from benchmarks.run import LATEST, bounded, interrupted, keep, told
from benchmarks.run import PEERS as SECTION

PEERS: dict[str, ModuleType] = {module.NAME: module for module in (flower, nvflare)}
LISTED = {fedn.NAME: fedn.REASON}
"""Peers that cannot be run, and why."""

SECONDS = 400  # for one work of one peer
TENTH, HALF = 0.1, 0.5
"""Of a peer's time: of a small round, and of a large one, of which the wire alone takes more than a tenth."""


@dataclass
class Findings:
    """A row for each work and peer, and which versions there are."""

    rows: list[Row] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def found(self, row: Row) -> None:
        print(row.line(), flush=True)
        self.rows.append(row)


def compare(names: Sequence[str], works: Sequence[Work], findings: Findings) -> None:
    """Ours before each peer: what else the machine does then is the same for both."""
    environments: dict[str, Environment] = {}
    reasons: dict[str, str] = {}
    for name in names:
        try:
            environments[name] = installed(name)
            findings.versions[name] = environments[name].version
        except RuntimeError as error:
            reasons[name] = _line(error)
    for work in works:
        for name in names:
            named = f"round, {work.name}, beside {name}"
            if name in environments:
                findings.found(turn(named, work, name, environments[name]))
            else:
                findings.found(Row(named, reason=reasons[name]))


def turn(named: str, work: Work, name: str, environment: Environment) -> Row:
    """Ours, and then the peer's."""
    with bounded(SECONDS):
        spent = ours.measure(work)
    try:
        beside = once(name, work, environment)
    except Exception as error:  # noqa: BLE001  # whatever goes wrong in a peer is what is told of it
        return Row(named, reason=_line(error))
    target, peer = TENTH if work.small else HALF, f"{name} {environment.version}"
    return Row(named, median(spent), "s", peer, median(beside), target=target, relative=True)


def _line(error: Exception) -> str:
    """Of what a process said last, its end."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) < 300 else f"… {text[-300:]}"  # noqa: PLR2004


def once(name: str, work: Work, environment: Environment) -> list[float]:
    """One work of one peer; nothing of it is left."""
    with tempfile.TemporaryDirectory(prefix="fedk-peer-", ignore_cleanup_errors=True) as text:
        folder = Path(text).resolve()
        with cleared(folder), bounded(SECONDS):
            return list(PEERS[name].measure(work, environment, folder))


def publish(findings: Findings) -> None:
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    commands = [f"- {name}: `{PEERS[name].COMMANDS}`" for name in findings.versions]
    listed = [f"- {name} is not run: {reason}." for name, reason in LISTED.items()]
    lines = "\n".join([*commands, *listed])
    page.write("peers", f"`make bench-peers`, {when}. {here().line}.\n\n{page.table(findings.rows)}\n\n{lines}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", action="append", choices=PEERS, help="this peer; may be given several times")
    parser.add_argument("--quick", action="store_true", help="two clients and one counted round")
    parser.add_argument("--to", type=Path, metavar="FILE", help="the JSON document, also of some peers or a quick run")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupted)
    works = [Work(2, 10_000, 2)] if given.quick else [Work(10, 10_000, 4), Work(4, 25_000_000, 4)]
    findings = Findings()
    compare(given.only or list(PEERS), works, findings)
    for name, reason in LISTED.items():
        print(f"{name} is not run: {reason}")
    whole = not given.quick and not given.only
    if given.to or whole:
        keep(given.to or LATEST, SECTION, findings.rows, quick=given.quick)
    if whole and not given.to:
        publish(findings)
    return told(findings.rows)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
