"""Loading one selected entry: drivers by stevedore, all checked against their contract, every way to fail told apart."""

import inspect
from importlib.metadata import EntryPoint
from pkgutil import resolve_name
from time import perf_counter
from typing import Any

from stevedore.driver import DriverManager

from fedk.api.errors import PluginError
from fedk.catalogue.implementation import implementations
from fedk.catalogue.kind import KINDS
from fedk.catalogue.plugin import Plugin
from fedk.catalogue.scan import Entry
from fedk.catalogue.slow import told_when_slow


class _Manager(DriverManager[Any]):
    """Stevedore's, given the catalogue's entry: its own cache can be stale for 128 s and loses the distribution."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        super().__init__(entry.group, entry.name)

    def list_entry_points(self) -> list[EntryPoint]:
        return [self._entry.point]


def load(entry: Entry) -> Plugin:
    """Import it. PluginError says what went wrong; its cause is what the import raised."""
    started = perf_counter()
    try:
        with told_when_slow(entry):
            cls = entry.point.load() if entry.kind == "hook" else _Manager(entry).driver
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # foreign code: at import a module may raise anything, as Rust's panics, or exit
        raise PluginError(f"{type(error).__name__}: {error}") from error
    milliseconds = (perf_counter() - started) * 1000
    hooks: tuple[str, ...] = ()
    if entry.kind == "hook":
        hooks = tuple(sorted({one.hook for one in implementations(entry.name, cls)}))
    else:
        _check(entry, cls)
    owner = entry.owner
    return Plugin(entry.kind, entry.name, owner.distribution, owner.version, cls, round(milliseconds, 1), hooks)


def _check(entry: Entry, cls: Any) -> None:
    path = KINDS[entry.kind].contract
    if path is None:
        return
    contract = resolve_name(path)
    if not isinstance(cls, type) or not issubclass(cls, contract):
        raise PluginError(f"{entry.target} is no {contract.__name__} ({path.replace(':', '.')})")
    if inspect.isabstract(cls):
        lacking = ", ".join(f"{name}()" for name in sorted(vars(cls)["__abstractmethods__"]))
        raise PluginError(f"{entry.target} implements half of {contract.__name__}: it lacks {lacking}")
