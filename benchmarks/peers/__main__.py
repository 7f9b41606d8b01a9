"""`make bench-peers`: the same work on fedk and on other servers, turn by turn in one run. Loopback; bounded in time.

    python -m benchmarks.peers [--quick] [--only flwr|nvflare|fedn]…

Installs each peer from the package index into an environment of its own below benchmarks/.peers. Prints how many times as
long as fedk each takes, and why one does not run; writes benchmarks/peers.json and the table of docs/benchmarks.md.
"""

import argparse
import json
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
from benchmarks.run import bounded, interrupted

PEERS: dict[str, ModuleType] = {module.NAME: module for module in (flower, nvflare, fedn)}
SECONDS = 400  # for one work of one peer
FILE = Path(__file__).resolve().parent.parent / "peers.json"


@dataclass
class Findings:
    """Seconds of each round, by work and who did it; and why somebody did not."""

    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def took(self, work: Work, who: str, spent: Sequence[float]) -> None:
        self.seconds.setdefault(work.name, {}).setdefault(who, []).extend(spent)
        ours = self.seconds[work.name].get("fedk", [])
        times = f"   {median(spent) / median(ours):,.0f} × fedk" if who != "fedk" and ours else ""
        print(f"round, {work.name:20} {who:20} {median(spent):>9.3f} s{times}", flush=True)

    def failed(self, who: str, work: Work | None, error: Exception) -> None:
        """One line: of what a process said last, its end."""
        text = " ".join(str(error).split()) or type(error).__name__
        self.reasons[f"{who}, {work.name}" if work else who] = text if len(text) < 300 else f"… {text[-300:]}"  # noqa: PLR2004
        print(f"{who}: {text[-600:]}", flush=True)

    def table(self) -> str:
        """Works down, servers across; how many times as long as fedk in brackets."""
        names = ["fedk", *self.versions]
        head = ["round of", *(f"{name} {self.versions.get(name, '')}".strip() for name in names)]
        return page.lines(
            head, [[work, *(_cell(found, name) for name in names)] for work, found in self.seconds.items()]
        )


def _cell(found: dict[str, list[float]], name: str) -> str:
    if name not in found:
        return "–"
    spent, least = median(found[name]), median(found["fedk"])
    return f"{spent:.3g} s" if name == "fedk" else f"{spent:.3g} s ({spent / least:,.0f} ×)"


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
        for name, environment in environments.items():
            with bounded(SECONDS):
                findings.took(work, "fedk", ours.measure(work))
            try:
                findings.took(work, name, once(name, work, environment))
            except Exception as error:  # noqa: BLE001  # whatever goes wrong in a peer is what is told of it
                findings.failed(name, work, error)


def once(name: str, work: Work, environment: Environment) -> list[float]:
    """One work of one peer; nothing of it is left."""
    with tempfile.TemporaryDirectory(prefix="fedk-peer-", ignore_cleanup_errors=True) as text:
        folder = Path(text).resolve()
        with cleared(folder), bounded(SECONDS):
            return list(PEERS[name].measure(work, environment, folder))


def publish(findings: Findings) -> None:
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    commands = "\n".join(f"- {name}: `{PEERS[name].COMMANDS}`" for name in findings.versions)
    reasons = "\n".join(f"- {who} did not run: {text}" for who, text in findings.reasons.items())
    page.write("peers", f"`make bench-peers`, {when}. {here().line}.\n\n{findings.table()}\n\n{commands}\n{reasons}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", action="append", choices=PEERS, help="this peer; may be given several times")
    parser.add_argument("--quick", action="store_true", help="two clients and one counted round; writes no page")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupted)
    works = [Work(2, 10_000, 2)] if given.quick else [Work(10, 10_000, 4), Work(4, 25_000_000, 4)]
    findings = Findings()
    compare(given.only or list(PEERS), works, findings)
    document = {"at": time.time(), "quick": given.quick, "machine": here().document(), **vars(findings)}
    FILE.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    if not given.quick and not given.only:
        publish(findings)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
