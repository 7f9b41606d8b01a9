"""Which entry a name selects, or why it selects none."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from fedk.api.suggestion import did_you_mean
from fedk.catalogue.scan import Entry


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a plugin that was asked for cannot be used."""

    state: str  # that an inspection shows
    problem: str  # is not installed
    advice: str  # the choices and the next step

    @property
    def text(self) -> str:
        return f"{self.problem}. {self.advice}"

    def sentence(self, subject: str, where: str) -> str:
        """`subject` is the kind and the name, `where` the place of the configuration that asks for it."""
        return f"{subject} {self.problem}{f' ({where})' if where else ''}. {self.advice}"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the configuration and this fedk allow, decided before anything is imported."""

    disabled: Collection[str] = ()
    allow: Collection[str] = ()

    fedk: Version = field(default_factory=lambda: Version(version("fedk")))

    def obstacle(self, entry: Entry) -> Obstacle | None:
        """Why this entry is not to be imported."""
        names, owner = {entry.name, entry.full_name}, entry.owner
        if names.intersection(self.disabled):
            return Obstacle("disabled", "is disabled", "Take it out of plugins.disabled, or choose another.")
        if self.allow and not names.intersection(self.allow):
            return Obstacle("disabled", "is not allowed", f'Add "{entry.name}" to plugins.allow, or choose another.')
        if entry.malformed:
            advice = f"Ask the authors of {owner}, or choose another."
            return Obstacle("failed", f"cannot be loaded: {entry.malformed}", advice)
        this = self.fedk.base_version  # a plugin for 0.2 works with a development version of it
        if not SpecifierSet(owner.requires).contains(this):
            advice = f"pip install -U {owner.distribution}  may bring a version that fits."
            return Obstacle("incompatible", f"wants fedk{owner.requires}, this is {this}", advice)
        return None


def select(entries: Iterable[Entry], use: str, policy: Policy) -> Entry | Obstacle:
    """The one of a kind's `entries` that `use` ("name" or "distribution:name") means."""
    named = [entry for entry in entries if _means(use, entry)]
    refused = [(entry, policy.obstacle(entry)) for entry in named]
    usable = [entry for entry, obstacle in refused if obstacle is None]
    if len(usable) == 1:
        return usable[0]
    if usable:
        return _claimed(usable)
    return next((obstacle for _, obstacle in refused if obstacle is not None), _missing(use, entries))


def _means(use: str, entry: Entry) -> bool:
    distribution, _, name = use.rpartition(":")
    same = not distribution or canonicalize_name(distribution) == canonicalize_name(entry.owner.distribution)
    return same and name == entry.name


def _missing(use: str, entries: Iterable[Entry]) -> Obstacle:
    names = sorted({entry.name for entry in entries})
    if not names:
        advice = "Installed: none.  pip install 'fedk[standard]'  brings the embedded defaults."
        return Obstacle("missing", "is not installed", advice)
    near = did_you_mean(use.rpartition(":")[2], names)
    advice = f"Installed: {', '.join(names)}.{near}  pip install fedk-plugin-<name> adds one, for the next start."
    return Obstacle("missing", "is not installed", advice)


def _claimed(entries: Sequence[Entry]) -> Obstacle:
    packages = " and ".join(str(entry.owner) for entry in entries)
    uninstall = " or ".join(f"pip uninstall {entry.owner.distribution}" for entry in entries)
    names = " or ".join(f'use = "{entry.full_name}"' for entry in entries)
    return Obstacle("available", f"is claimed by {packages}", f"Remove one ({uninstall}), or say which: {names}.")
