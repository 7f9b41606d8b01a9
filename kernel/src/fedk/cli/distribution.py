"""A plugin's own folder, looked at before it is published: metadata, contract, README, suite."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from fedk.api.errors import NotFound
from fedk.api.suggestion import did_you_mean
from fedk.catalogue.catalogue import Catalogue
from fedk.catalogue.conformance import record
from fedk.catalogue.kind import GROUPS, PREFIX
from fedk.catalogue.plugin import PluginInfo
from fedk.catalogue.probe import probe
from fedk.catalogue.scan import Entry, Owner
from fedk.catalogue.selection import Policy
from fedk.testing.readme import key_table

LAST_LINES = 15
"""Of the tests' output, where one failed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    text: str
    well: bool = True


class Folder:
    """A distribution's sources."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            document = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
        except OSError as error:
            raise NotFound(
                f"{root} is no plugin's folder: it has no pyproject.toml. fedk plugins new  makes one"
            ) from error
        except ValueError as error:
            raise NotFound(f"{root / 'pyproject.toml'} is no TOML: {error}") from error
        self.project: Mapping[str, Any] = document.get("project", {})
        self.name, self.version = self.project.get("name", ""), str(self.project.get("version", ""))

    def entries(self) -> list[Entry]:
        """Its entry points in the groups of fedk."""
        groups: Mapping[str, Mapping[str, str]] = self.project.get("entry-points", {})
        wanted = next((str(r.specifier) for r in self._requirements() if r.name == "fedk"), "")
        owner = Owner(self.name, self.version, requires=wanted)
        return [
            Entry(GROUPS.get(group, ""), group, name, target, owner)
            for group, points in groups.items()
            if group.startswith(PREFIX)
            for name, target in points.items()
        ]

    def check(self) -> Iterator[Finding]:
        """Everything, one finding after the other; what the suite said is recorded."""
        entries = self.entries()
        yield from self._metadata(entries)
        infos = [self._probed(entry) for entry in entries if entry.kind]
        for info in infos:
            yield Finding("contract", f"{info.kind} {info.name}: {info.error or 'kept'}", not info.error)
            yield from self._readme(info)
        yield from self._suite(entries)

    # ---- metadata ----

    def _metadata(self, entries: Sequence[Entry]) -> Iterator[Finding]:
        wrong = [*self._lacking(), *self._points(entries), *self._bounds()]
        yield from wrong or [Finding("metadata", f"{self.name} {self.version}")]

    def _lacking(self) -> Iterator[Finding]:
        for key in ("name", "version", "description", "readme", "license", "requires-python"):
            if not self.project.get(key):
                yield Finding("metadata", f"project.{key} is needed in pyproject.toml", well=False)

    def _points(self, entries: Sequence[Entry]) -> Iterator[Finding]:
        if not entries:
            groups = ", ".join(GROUPS)
            yield Finding(
                "metadata", f"no entry point: [project.entry-points.GROUP], GROUP one of {groups}", well=False
            )
        for entry in entries:
            if not entry.kind:
                text = f'the group "{entry.group}" is none.{did_you_mean(entry.group, GROUPS)}'
                yield Finding("metadata", text, well=False)
            elif entry.malformed:
                yield Finding("metadata", entry.malformed, well=False)
            elif not (self._folder(entry) / "py.typed").is_file():
                yield Finding(
                    "metadata", f"{self._folder(entry)} has no py.typed: its types would not count", well=False
                )

    def _bounds(self) -> Iterator[Finding]:
        ours = [r for r in self._requirements() if r.name in ("fedk", "fedk-protocol")]
        if not ours:
            yield Finding(
                "metadata", 'dependencies have no "fedk>=0.1,<0.2": a codec has "fedk-protocol>=…"', well=False
            )
        for one in ours:
            signs = {specifier.operator for specifier in one.specifier}
            if not signs & {"<", "<=", "==", "~="} or not signs & {">", ">=", "==", "~="}:
                yield Finding("metadata", f'"{one}" has no bounds on both sides: "{one.name}>=0.1,<0.2"', well=False)
            elif not one.specifier.contains(Policy().fedk.base_version):
                text = f'"{one}" does not contain this version, {Policy().fedk.base_version}'
                yield Finding("metadata", text, well=False)

    def _requirements(self) -> Iterator[Requirement]:
        for text in self.project.get("dependencies", []):
            try:
                yield Requirement(text)
            except InvalidRequirement:
                continue

    # ---- contract ----

    @property
    def _sources(self) -> Path:
        return self.root / "src" if (self.root / "src").is_dir() else self.root

    def _folder(self, entry: Entry) -> Path:
        return self._sources / entry.module.partition(".")[0]

    def _probed(self, entry: Entry) -> PluginInfo:
        found = Catalogue([entry], Policy()).show(entry.name, entry.kind)
        return probe(entry, found, self._path()) if not found.error else found

    def _path(self) -> dict[str, str]:
        others = os.environ.get("PYTHONPATH")
        return {"PYTHONPATH": f"{self._sources.resolve()}{os.pathsep + others if others else ''}"}

    def _readme(self, info: PluginInfo) -> Iterator[Finding]:
        if not (info.config_schema or {}).get("properties"):
            return
        readme = self.root / "README.md"
        table = key_table(info.config_schema or {})
        if readme.is_file() and table in readme.read_text("utf-8"):
            yield Finding("readme", "has the table of settings")
        else:
            yield Finding("readme", f"README.md lacks the table of settings, which is\n{table}", well=False)

    # ---- suite ----

    def _suite(self, entries: Sequence[Entry]) -> Iterator[Finding]:
        with TemporaryDirectory(prefix="fedk-") as folder:
            counts = Path(folder) / "counts.json"
            ran = self._pytest(counts)
            found = json.loads(counts.read_text("utf-8")) if counts.is_file() else {}
        if ran.returncode or not found:
            last = "\n".join((ran.stdout + ran.stderr).splitlines()[-LAST_LINES:])
            yield Finding("suite", f"its tests fail: pytest in {self.root} says\n{last}", well=False)
        elif not found["passed"]:
            yield Finding(
                "suite", "no test of a suite ran: subclass the one of fedk.testing for this family", well=False
            )
        else:
            yield Finding("suite", f"{found['suite']}: {found['passed']} passed, {found['skipped']} skipped")
            yield self._recorded(entries, found)

    def _pytest(self, counts: Path) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "pytest", "-q", "-p", "fedk.testing.record", "--fedk-record", str(counts)]
        environment = {**os.environ, **self._path()}
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)

    def _recorded(self, entries: Sequence[Entry], found: Mapping[str, Any]) -> Finding:
        document = {**found, "version": self.version, "recorded": datetime.now(UTC).date().isoformat()}
        modules = {self._folder(entry) / "__init__.py" for entry in entries if entry.kind}
        paths = [record(module, document) for module in sorted(modules) if module.parent.is_dir()]
        return Finding("recorded", ", ".join(str(path.relative_to(self.root)) for path in paths))
