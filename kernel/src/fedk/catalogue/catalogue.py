"""The catalogue: every plugin that is found or asked for, in one visible state, imported only when it is chosen."""

import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedk.api.config import Config
from fedk.api.errors import Conflict, NotFound, PluginError
from fedk.api.mistake import MOST, Mistake, mistake
from fedk.api.suggestion import did_you_mean
from fedk.catalogue.conformance import recorded
from fedk.catalogue.kind import GROUPS, KINDS
from fedk.catalogue.lock import Locked, enforce, freeze
from fedk.catalogue.plugin import Plugin, PluginInfo
from fedk.catalogue.scan import Entry, scan
from fedk.catalogue.selection import Obstacle, Policy, select
from fedk.catalogue.tally import Tally
from fedk.catalogue.timed import timed


class Catalogue:
    """What one scan found, and what became of it since."""

    def __init__(self, entries: Iterable[Entry], policy: Policy) -> None:
        order = list(KINDS)
        self._entries = sorted(
            entries, key=lambda e: (order.index(e.kind) if e.kind else len(order), e.name, e.owner.distribution)
        )
        self._policy = policy
        self._selected: set[Entry] = set()
        self._plugins: dict[Entry, Plugin] = {}
        self._active: dict[Entry, Config] = {}
        self._tallies: dict[Entry, Tally] = {}
        self._failed: dict[Entry, tuple[Obstacle, str]] = {}  # with the traceback
        self._missing: dict[tuple[str, str], Obstacle] = {}

    @classmethod
    def scan(
        cls, *, disabled: Collection[str] = (), allow: Collection[str] = (), path: Sequence[str] | None = None
    ) -> "Catalogue":
        """Look at the metadata of everything installed, once. Imports nothing."""
        return cls(scan(path), Policy(tuple(disabled), tuple(allow)))

    def drivers(self, kind: str) -> list[str]:
        """The names that may be selected."""
        return sorted({e.name for e in self._of(kind) if self._policy.obstacle(e) is None})

    def load(self, kind: str, use: str, *, where: str = "") -> Plugin:
        """Import the plugin that `use` names; `where` is the place of the configuration that asks, for the message."""
        found = select(self._of(kind), use, self._policy)
        if isinstance(found, Obstacle):
            raise PluginError(found.sentence(f'{kind} "{use}"', where))
        if found not in self._plugins:
            self._import(found, where)
        return self._plugins[found]

    def settings(self, kind: str, use: str, tables: Mapping[str, Any], *, where: str = "") -> Config:
        """The settings of the driver that `use` names, from its own table among `tables`."""
        plugin = self.load(kind, use, where=where)
        _, table = _own(tables, plugin.name)
        try:
            return plugin.configured(table)
        except PluginError as error:
            raise self._fail(self._entry(plugin), error, "cannot be used", where) from error

    def create(
        self, kind: str, use: str, tables: Mapping[str, Any] | None = None, *, where: str = ""
    ) -> Any:  # the family's contract
        """The driver that `use` names, with the settings of its own table among `tables`.

        PluginError: it cannot be used. ConfigError: its table is wrong.
        """
        config = self.settings(kind, use, tables or {}, where=where)
        plugin = self.load(kind, use)
        entry = self._entry(plugin)
        self._selected.add(entry)
        try:
            driver = plugin.made(config)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # foreign code may raise anything, as Rust's panics, or exit
            raise self._fail(entry, error, "cannot start", where) from error
        self._active[entry] = config
        self._failed.pop(entry, None)
        if kind not in ("hook", "codec"):  # hooks are counted where they are called; a codec's work is its generators'
            timed(driver, self._tallies.setdefault(entry, Tally()))
        return driver

    def tally(self, kind: str, use: str) -> Tally:
        """What the calls of a plugin in use have cost: whoever calls it adds to that."""
        return self._tallies.setdefault(self._entry(self.load(kind, use)), Tally())

    def broke(self, kind: str, use: str, error: BaseException, problem: str) -> None:
        """Note that a plugin in use has failed for good: `problem` says what that means."""
        self._fail(self._entry(self.load(kind, use)), error, problem, "")

    def ask(self, kind: str, use: str) -> None:
        """Note that the configuration wants it: that decides who is shadowed, and what is missing."""
        found = select(self._of(kind), use, self._policy)
        if isinstance(found, Entry):
            self._selected.add(found)
        elif found.state == "missing":
            self._missing[kind, use] = found

    def check(self, sections: Mapping[str, Mapping[str, Any]], *, idle: bool = False) -> list[Mistake]:
        """What is wrong with the drivers that `sections` (by kind: `use`, and tables by driver) selects, and their keys.

        Imports what is selected; with `idle` also the other drivers that have a table, to check that too.
        """
        found: list[Mistake] = []
        for kind, section in sections.items():
            use = section["use"]
            found += self._check_selected(kind, use, section)
            for name, table in section.items():
                if len(found) >= MOST:
                    break
                if isinstance(table, Mapping) and not _same(name, use.rpartition(":")[2]):
                    found += self._check_idle(kind, name, table if idle else None)
        return found

    def check_hooks(
        self,
        names: Iterable[str],
        tables: Mapping[str, Mapping[str, Any]],
        *,
        idle: bool = False,
        strict: bool = False,
    ) -> list[Mistake]:
        """What is wrong with the keys of the hook plugins that `names` enables; with `idle` also of the others.

        A plugin that cannot be used is no mistake, unless `strict`: its state shows it, and the server starts without.
        """
        found: list[Mistake] = []
        enabled = list(dict.fromkeys(names))
        for use in enabled:
            self.ask("hook", use)
            if strict:
                found += self._check_enabled(use)
        known = sorted({entry.name for entry in self._of("hook")})
        for name, table in tables.items():
            asked = next((use for use in [*enabled, *known] if _same(name, use.rpartition(":")[2])), None)
            if asked is None:
                self.ask("hook", name)
            elif asked in enabled or idle:
                with suppress(PluginError):  # shown by its state
                    found += self.load("hook", asked).check(table, name)
        return found

    def _check_enabled(self, use: str) -> list[Mistake]:
        try:
            self.load("hook", use)
        except PluginError as error:
            text = f'names "{use}", which {self._why_not("hook", use, error)}'
            text = f"{text} plugins.strict = false  starts without."
            return [Mistake(("plugins", "hooks"), "plugins.hooks", text, error)]
        return []

    def usable(self) -> list[Entry]:
        """The entries that may be imported: whatever their state, nothing forbids it."""
        return [entry for entry in self._entries if entry.kind and self._policy.obstacle(entry) is None]

    def freeze(self) -> list[Locked]:
        """What a lock would hold: every distribution that brings plugins."""
        return freeze(self._entries)

    def enforce(self, lock: str) -> None:
        """Compare with a lock file, where one is named. ConfigError names every difference; nothing is imported."""
        if lock:
            enforce(Path(lock), self._entries)

    def entries(self) -> list[PluginInfo]:
        """Every plugin that was found or asked for, by kind and name."""
        infos = [self._info(entry) for entry in self._entries]
        return infos + [_missing_info(kind, use, obstacle) for (kind, use), obstacle in self._missing.items()]

    def show(self, name: str, kind: str | None = None, *, load: bool = False) -> PluginInfo:
        """One plugin, by "name" or "distribution:name"; with `load` it is imported first, so that its keys are there."""
        for (asked, use), obstacle in self._missing.items():
            if name == use and kind in (None, asked):
                return _missing_info(asked, use, obstacle)
        entry = self._find(name, kind)
        if load and entry.kind:
            with suppress(PluginError):  # its state shows it
                self.load(entry.kind, entry.full_name)
        return self._info(entry)

    def _find(self, name: str, kind: str | None = None) -> Entry:
        """The entry of a name; of two that have it the selected one. NotFound, Conflict: the text says what there is."""
        among = [entry for entry in self._entries if kind in (None, entry.kind)]
        named = [entry for entry in among if name in (entry.name, entry.full_name)]
        if not named:
            names = sorted({entry.name for entry in among})
            have = f"Installed: {', '.join(names) or 'none'}.{did_you_mean(name, names)}"
            raise NotFound(f'no {kind or "plugin"} "{name}" is installed. {have}')
        selected = [entry for entry in named if entry in self._selected]
        chosen = named if len(named) == 1 else selected
        if len(chosen) != 1:
            choices = ", ".join(f"{entry.kind} {entry.full_name}" for entry in named)
            raise Conflict(f'"{name}" may be any of {choices}: name one, and its kind')
        return chosen[0]

    def _entry(self, plugin: Plugin) -> Entry:
        return next(entry for entry, loaded in list(self._plugins.items()) if loaded is plugin)  # another may load

    def _of(self, kind: str) -> list[Entry]:
        return [entry for entry in self._entries if entry.kind == kind]

    def _import(self, entry: Entry, where: str) -> None:
        from fedk.catalogue import driver  # noqa: PLC0415  # stevedore costs 40 ms that a listing does without

        try:
            self._plugins.setdefault(entry, driver.load(entry))  # the first where two threads load it
        except PluginError as error:
            raise self._fail(entry, error.__cause__ or error, "cannot be loaded", where) from error.__cause__
        self._failed.pop(entry, None)

    def _fail(self, entry: Entry, error: BaseException, problem: str, where: str) -> PluginError:
        text = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        state = "missing" if _is_gone(entry, error) else "failed"
        obstacle = Obstacle(state, f"{problem}: {text.rstrip('. ')}", _advice(entry, error))
        self._failed[entry] = obstacle, "".join(traceback.format_exception(error))
        return PluginError(obstacle.sentence(f'{entry.kind} "{entry.name}" of {entry.owner}', where))

    def _check_selected(self, kind: str, use: str, section: Mapping[str, Any]) -> list[Mistake]:
        try:
            plugin = self.load(kind, use)
            spelt, table = _own(section, plugin.name)
            return plugin.check(table, spelt)
        except PluginError as error:
            return [replace(mistake((kind, "use"), use, self._why_not(kind, use, error)), cause=error)]

    def _why_not(self, kind: str, use: str, error: PluginError) -> str:
        found = select(self._of(kind), use, self._policy)
        failed = self._failed.get(found) if isinstance(found, Entry) else (found, "")
        return failed[0].text if failed else str(error)

    def _check_idle(self, kind: str, name: str, table: Mapping[str, Any] | None) -> list[Mistake]:
        """A table of a driver that is not selected; None: only whether there is such a driver."""
        entries = self._of(kind)
        driver = next((entry for entry in entries if _same(name, entry.name)), None)
        if driver is None:
            names = sorted({entry.name for entry in entries})
            near = did_you_mean(name, names, f"[{kind}.{{}}]")
            text = f"is for a driver that is not installed. Installed: {', '.join(names) or 'none'}.{near}"
            return [mistake((kind, name), {}, text)]
        if table is None or self._policy.obstacle(driver) is not None:
            return []
        try:
            return self.load(kind, driver.full_name).check(table, name)
        except PluginError:  # shown by its state; a driver that nobody selected is no mistake of the configuration
            return []

    def _info(self, entry: Entry) -> PluginInfo:
        plugin, config = self._plugins.get(entry), self._active.get(entry)
        obstacle, trace = self._trouble(entry)
        owner, tally, file = entry.owner, self._tallies.get(entry, Tally()), entry.file
        schema, settings, unshown = _shown(plugin, config)
        return PluginInfo(
            kind=entry.kind or entry.group,
            name=entry.name,
            state=obstacle.state if obstacle else "active" if config is not None else "available",
            distribution=owner.distribution,
            version=owner.version,
            file=file,
            summary=owner.summary,
            license=owner.license,
            requires=f"fedk{owner.requires}" if owner.requires else "",
            import_ms=plugin.import_ms if plugin else None,
            hooks=plugin.hooks if plugin else (),
            calls=tally.calls,
            seconds=round(tally.seconds, 6),
            failures=tally.failures,
            conformance=recorded(file),
            config_schema=schema,
            settings=settings,
            error=obstacle.problem if obstacle else unshown,
            hint=obstacle.advice if obstacle else "",
            traceback=trace,
        )

    def _trouble(self, entry: Entry) -> tuple[Obstacle | None, str]:
        if not entry.kind:
            near = did_you_mean(entry.group, GROUPS)
            return Obstacle("failed", f'is in the group "{entry.group}", which no family has', near.strip()), ""
        if entry in self._failed:
            return self._failed[entry]
        return self._uninstalled(entry) or self._policy.obstacle(entry) or self._rivalry(entry), ""

    def _uninstalled(self, entry: Entry) -> Obstacle | None:
        """Gone since the scan: what runs goes on, and would not start again."""
        if not entry.owner.gone:
            return None
        advice = f"pip install {entry.owner.distribution}  brings it back; without, the next start does without it."
        return Obstacle("active" if entry in self._active else "missing", "was uninstalled since the start", advice)

    def _rivalry(self, entry: Entry) -> Obstacle | None:
        """Another distribution's plugin of the same kind and name."""
        others = [e for e in self._of(entry.kind) if e.name == entry.name and e != entry]
        if not others or entry in self._selected:
            return None
        packages = ", ".join(str(other.owner) for other in others)
        if self._selected.intersection(others):
            return Obstacle("shadowed", f"is shadowed by {packages}", f'use = "{entry.full_name}"  selects this one.')
        return Obstacle("available", f"is also in {packages}", f'use = "{entry.full_name}"  selects this one.')


def _shown(plugin: Plugin | None, config: Config | None) -> tuple[Mapping[str, Any] | None, dict[str, Any], str]:
    """Schema, settings, and why they cannot be shown: what an author forgot hides no other plugin."""
    try:
        return (*plugin.shown(config), "") if plugin is not None else (None, {}, "")
    except PluginError as error:
        return None, {}, str(error)


def _own(tables: Mapping[str, Any], name: str) -> tuple[str, Mapping[str, Any]]:
    """A driver's own table, and how its name is spelt there."""
    found: Iterator[tuple[str, Mapping[str, Any]]] = (
        (spelt, table) for spelt, table in tables.items() if isinstance(table, Mapping) and _same(spelt, name)
    )
    return next(found, (name, {}))


def _same(spelt: str, name: str) -> bool:
    """Dashes and underscores are one: the environment has no dashes."""
    return spelt.replace("_", "-") == name.replace("_", "-")


def _is_gone(entry: Entry, error: BaseException) -> bool:
    """Whether the plugin itself was not found: it was removed since the scan."""
    return isinstance(error, ModuleNotFoundError) and error.name == entry.module.partition(".")[0]


def _advice(entry: Entry, error: BaseException) -> str:
    distribution = entry.owner.distribution
    if _is_gone(entry, error):
        return f"Its files are gone:  pip install --force-reinstall {distribution}"
    if isinstance(error, ModuleNotFoundError):
        return "Its package lacks something:  pip check  says what; or choose another."
    return f"Ask the authors of {distribution}, or choose another; --debug shows the traceback."


def _missing_info(kind: str, use: str, obstacle: Obstacle) -> PluginInfo:
    return PluginInfo(kind=kind, name=use, state="missing", error=obstacle.problem, hint=obstacle.advice)
