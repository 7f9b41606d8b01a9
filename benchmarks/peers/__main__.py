"""`make bench-peers`: the same work on fedk and on other servers, turn by turn in one run. Loopback; bounded in time.

    python -m benchmarks.peers [--quick] [--only flwr|nvflare|fedn]…

Installs each peer from the package index into an environment of its own below benchmarks/.peers. Prints fedk's time beside
each one's, `met` or `miss`, and why one does not run; writes the section `peers` of benchmarks/latest.json and the table of
docs/benchmarks.md. Exit 1 where a row misses.
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

PEERS: dict[str, ModuleType] = {module.NAME: module for module in (flower, nvflare, fedn)}
SECONDS = 400  # for one work of one peer
TENTH, HALF = 0.1, 0.5
"""Of a peer's time: of a small round, and of a large one, of which the wire alone takes more than a tenth."""


@dataclass
class Findings:
    """Seconds of each round, by work and who did it; and why somebody did not."""

    seconds: dict[Work, dict[str, list[float]]] = field(default_factory=dict)
    reasons: dict[tuple[str, Work | None], str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def took(self, work: Work, who: str, spent: Sequence[float]) -> None:
        self.seconds.setdefault(work, {}).setdefault(who, []).extend(spent)

    def failed(self, who: str, work: Work | None, error: Exception) -> None:
        """One line: of what a process said last, its end."""
        text = " ".join(str(error).split()) or type(error).__name__
        self.reasons[who, work] = text if len(text) < 300 else f"… {text[-300:]}"  # noqa: PLR2004

    def row(self, work: Work, who: str) -> Row:
        """Ours beside a peer's, as far as it goes."""
        named = f"round, {work.name}, beside {who}"
        reason = self.reasons.get((who, work)) or self.reasons.get((who, None), "")
        spent = self.seconds.get(work, {})
        if reason or who not in spent:
            return Row(named, reason=reason or "it was not measured")
        target = TENTH if work.small else HALF
        beside = f"{who} {self.versions[who]}"
        return Row(named, median(spent["fedk"]), "s", beside, median(spent[who]), target=target, relative=True)


def compare(names: Sequence[str], works: Sequence[Work], findings: Findings) -> None:
    """Ours before each peer: what else the machine does then is the same for both."""
    environments: dict[str, Environment] = {}
    for name in names:
        try:
            environments[name] = installed(name)
            findings.versions[name] = environments[name].version
        except RuntimeError as error:
            findings.failed(name, None, error)
    for work in works:
        for name in names:
            if name in environments:
                with bounded(SECONDS):
                    findings.took(work, "fedk", ours.measure(work))
                try:
                    findings.took(work, name, once(name, work, environments[name]))
                except Exception as error:  # noqa: BLE001  # whatever goes wrong in a peer is what is told of it
                    findings.failed(name, work, error)
            print(findings.row(work, name).line(), flush=True)


def once(name: str, work: Work, environment: Environment) -> list[float]:
    """One work of one peer; nothing of it is left."""
    with tempfile.TemporaryDirectory(prefix="fedk-peer-", ignore_cleanup_errors=True) as text:
        folder = Path(text).resolve()
        with cleared(folder), bounded(SECONDS):
            return list(PEERS[name].measure(work, environment, folder))


def publish(findings: Findings, rows: Sequence[Row]) -> None:
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    commands = "\n".join(f"- {name}: `{PEERS[name].COMMANDS}`" for name in findings.versions)
    page.write("peers", f"`make bench-peers`, {when}. {here().line}.\n\n{page.table(rows)}\n\n{commands}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", action="append", choices=PEERS, help="this peer; may be given several times")
    parser.add_argument("--quick", action="store_true", help="two clients and one counted round; writes no page")
    parser.add_argument("--to", type=Path, default=LATEST, metavar="FILE", help="the JSON document")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupted)
    works = [Work(2, 10_000, 2)] if given.quick else [Work(10, 10_000, 4), Work(4, 25_000_000, 4)]
    findings, names = Findings(), given.only or list(PEERS)
    compare(names, works, findings)
    rows = [findings.row(work, name) for work in works for name in names]
    keep(given.to, SECTION, rows, quick=given.quick)
    if given.to == LATEST and not given.quick and not given.only:
        publish(findings, rows)
    return told(rows)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
