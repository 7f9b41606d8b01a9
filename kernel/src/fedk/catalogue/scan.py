"""One walk over the metadata of what is installed. Nothing is imported; each owner's metadata is parsed once."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, EntryPoint, PackageMetadata, distributions
from importlib.util import find_spec

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from fedk.catalogue.kind import GROUPS, PREFIX

_TARGET = re.compile(r"[\w.]+(?P<attribute>\s*:\s*[\w.]+)?")


@dataclass(frozen=True, slots=True)
class Owner:
    """The distribution that an entry point belongs to."""

    distribution: str
    version: str
    summary: str = ""
    license: str = ""
    requires: str = ""  # of fedk, as a specifier: ">=0.1,<0.2"
    broken: str = ""  # why its metadata cannot be trusted
    source: Distribution | None = field(default=None, compare=False, repr=False)

    @property
    def gone(self) -> bool:
        """Whether it was uninstalled since the scan."""
        return self.source is not None and not _text(self.source)

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry point of a group that begins with `fedk.`; its kind is "" where no family has that group."""

    kind: str
    group: str
    name: str
    target: str  # MODULE:CLASS
    owner: Owner

    @property
    def full_name(self) -> str:
        """The name that only this distribution's plugin has."""
        return f"{self.owner.distribution}:{self.name}"

    @property
    def module(self) -> str:
        """The module that loading imports."""
        return self.target.partition(":")[0].strip()

    @property
    def file(self) -> str:
        """The file that loading would import; "" where there is none. Imports nothing."""
        top, *inner = self.module.split(".")
        try:
            spec = find_spec(top)
            for part in inner:
                if spec is not None:
                    spec = PathFinder.find_spec(f"{spec.name}.{part}", spec.submodule_search_locations)
        except (ImportError, ValueError, AttributeError):  # a foreign finder's trouble: it does without the file
            return ""
        return (spec.origin or "") if spec is not None else ""

    @property
    def malformed(self) -> str:
        """What is wrong with it as it is written; "" where nothing is."""
        if self.owner.broken:
            return self.owner.broken
        match = _TARGET.fullmatch(self.target)
        if match and self.name and (match["attribute"] or self.kind == "hook"):
            return ""
        return f'its entry point "{self.name} = {self.target}" is malformed: wants NAME = MODULE:CLASS'

    @property
    def point(self) -> EntryPoint:
        """For a loader."""
        return EntryPoint(self.name, self.target, self.group)


def scan(path: Sequence[str] | None = None) -> list[Entry]:
    """Every entry point in the groups of fedk, first on `path` (without one `sys.path`) first."""
    seen: set[str] = set()
    found: list[Entry] = []
    for distribution in distributions() if path is None else distributions(path=list(path)):
        points = list(_points(_text(distribution)))
        if not points:
            continue
        owner = _owner(distribution)
        if (name := canonicalize_name(owner.distribution)) not in seen:  # a second of its name is never imported
            seen.add(name)
            found += [Entry(GROUPS.get(group, ""), group, name, target, owner) for group, name, target in points]
    return found


def _text(distribution: Distribution) -> str:
    try:
        return distribution.read_text("entry_points.txt") or ""
    except (OSError, UnicodeDecodeError):  # not a file that names plugins
        return ""


def _points(text: str) -> Iterator[tuple[str, str, str]]:
    """(group, name, target). Not by importlib.metadata: there one malformed line hides all others."""
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            group = line.strip("[]").strip()
        elif line and group.startswith(PREFIX) and not line.startswith(("#", ";")):
            name, _, target = line.partition("=")
            yield group, name.strip(), target.strip()


def _owner(distribution: Distribution) -> Owner:
    try:
        metadata = distribution.metadata
        return Owner(
            distribution=_first(metadata, "Name"),
            version=_first(metadata, "Version"),
            summary=_first(metadata, "Summary", default=""),
            license=_first(metadata, "License-Expression", "License", default=""),
            requires=str(_fedk(metadata.get_all("Requires-Dist") or [])),
            source=distribution,
        )
    except Exception as error:  # noqa: BLE001  # foreign metadata: whatever is wrong with it, the scan goes on
        folder = str(distribution.locate_file(""))
        return Owner(
            f"a distribution in {folder}", "?", broken=f"its metadata cannot be read: {error}", source=distribution
        )


def _first(metadata: PackageMetadata, *keys: str, default: str | None = None) -> str:
    for key in keys:
        if key in metadata:
            return metadata[key]
    if default is None:
        raise ValueError(f"it has no {keys[0]}")
    return default


def _fedk(requires: Iterable[str]) -> SpecifierSet:
    """What it asks of fedk in this environment, without its extras."""
    wanted = SpecifierSet()
    for text in requires:
        if not text.lower().startswith("fedk"):
            continue
        requirement = Requirement(text)
        marker = requirement.marker
        if canonicalize_name(requirement.name) == "fedk" and (marker is None or marker.evaluate({"extra": ""})):
            wanted &= requirement.specifier
    return wanted
