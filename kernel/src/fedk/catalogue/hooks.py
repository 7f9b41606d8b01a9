"""The hook plugins that the configuration enables, in its order, each loaded apart from the others."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedk.api.errors import PluginError
from fedk.api.hooks import Gates
from fedk.api.hooks import Observers as ObserverHooks
from fedk.catalogue.catalogue import Catalogue
from fedk.catalogue.implementation import HOOKS, Implementation, implementations
from fedk.catalogue.tally import Tally
from fedk.catalogue.worker import Worker

log = logging.getLogger("fedk.plugins")

WHERE = "plugins.hooks"


@dataclass(slots=True, eq=False)
class Enabled:
    """One hook plugin in use."""

    use: str  # as the configuration names it
    name: str
    version: str
    functions: Sequence[Implementation]
    tally: Tally
    broke: Callable[[BaseException, str], None]  # tells the catalogue
    watching: Worker = field(init=False)  # runs its observers
    judging: Worker = field(init=False)  # runs its gates: an observer that hangs does not keep them

    def __post_init__(self) -> None:
        self.watching, self.judging = Worker(f"{self.name}-observers"), Worker(f"{self.name}-gates")

    def of(self, hook: str) -> list[Implementation]:
        """What it has for one hook."""
        return [one for one in self.functions if one.hook == hook]

    def has(self, group: type) -> bool:
        """Whether it has any hook of a group of specifications."""
        return any(HOOKS[one.hook] is group for one in self.functions)

    @property
    def observes(self) -> bool:
        return self.has(ObserverHooks)

    @property
    def judges(self) -> bool:
        return self.has(Gates)

    def close(self) -> None:
        self.watching.close()
        self.judging.close()


def enable(
    catalogue: Catalogue, names: Iterable[str], tables: Mapping[str, Mapping[str, Any]], *, strict: bool = False
) -> list[Enabled]:
    """Load and make them. One that cannot be used is recorded in the catalogue; with `strict` it is a PluginError."""
    enabled: list[Enabled] = []
    errors: list[PluginError] = []
    for use in dict.fromkeys(names):
        catalogue.ask("hook", use)
        try:
            enabled.append(_enabled(catalogue, use, tables))
        except PluginError as error:
            log.warning("plugin.failed", extra={"fields": {"kind": "hook", "plugin": use, "error": str(error)}})
            errors.append(error)
    if strict and errors:
        told = "\n".join(map(str, errors))
        raise PluginError(f"{told}\nplugins.strict = false  starts without.") from errors[0]
    return enabled


def _enabled(catalogue: Catalogue, use: str, tables: Mapping[str, Mapping[str, Any]]) -> Enabled:
    made = catalogue.create("hook", use, tables, where=WHERE)
    plugin = catalogue.load("hook", use)
    try:
        functions = implementations(plugin.name, made)
    except PluginError as error:  # its class had hooks, its object has none
        catalogue.broke("hook", use, error, "cannot be used")
        raise
    return Enabled(
        use=use,
        name=plugin.name,
        version=plugin.version,
        functions=functions,
        tally=catalogue.tally("hook", use),
        broke=lambda error, problem: catalogue.broke("hook", use, error, problem),
    )
