"""What hook plugins add: commands, applications, services. Each plugin is asked once, apart from the others."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from fedk.api.errors import PluginError
from fedk.api.hooks import AsgiApp
from fedk.catalogue.hooks import Enabled

_PATH = re.compile(r"(/[\w.~-]+)+")

Add = Callable[[Any], None]


def commands(plugins: Iterable[Enabled], taken: Collection[str] = ()) -> dict[str, Any]:
    """By name, the commands that `fedk` has beside those that are `taken`."""
    found: dict[str, Any] = {}

    def add(value: Any) -> None:
        for command in _listed(value, "a list of click commands"):
            name = getattr(command, "name", None)
            if not isinstance(name, str) or not callable(command):
                raise PluginError(f"{command!r} is no click command")
            if name in taken or name in found:
                raise PluginError(f"there is a command {name} already")
            found[name] = command

    _ask(plugins, "cli_commands", add)
    return found


def routes(plugins: Iterable[Enabled], taken: Collection[str] = ()) -> dict[str, AsgiApp]:
    """By path, the applications that the administration answers with; below `taken` it answers itself."""
    found: dict[str, AsgiApp] = {}

    def add(value: Any) -> None:
        if not isinstance(value, Mapping):
            raise PluginError(f"{type(value).__name__} is no mapping from paths to ASGI applications")
        for path, app in value.items():
            if not isinstance(path, str) or not _PATH.fullmatch(path):
                raise PluginError(f'{path!r} is no path: "/metrics" is one')
            if any(path == other or path.startswith(f"{other}/") for other in (*taken, *found)):
                raise PluginError(f"{path} is answered already")
            if not callable(app):
                raise PluginError(f"{path}: {type(app).__name__} is no ASGI application")
            found[path] = app

    _ask(plugins, "admin_routes", add)
    return found


@dataclass(slots=True)
class Services:
    """Stands for the gRPC server while plugins add to it: what a generated `add_…_to_server` calls."""

    names: list[str]
    generic: list[Any] = field(default_factory=list)
    registered: list[tuple[str, Any]] = field(default_factory=list)

    def add_generic_rpc_handlers(self, handlers: Iterable[Any]) -> None:
        for handler in handlers:
            name = handler.service_name()
            if name in self.names:
                raise PluginError(f"there is a service {name} already")
            self.names.append(name)
            self.generic.append(handler)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Any) -> None:
        self.registered.append((service_name, method_handlers))

    def add_to(self, server: Any) -> None:
        """Pass on what was added."""
        if self.generic:
            server.add_generic_rpc_handlers(tuple(self.generic))
        for name, handlers in self.registered:
            server.add_registered_method_handlers(name, handlers)


def services(plugins: Iterable[Enabled], names: Sequence[str]) -> Services:
    """What the plugins add to a server that has the services `names`."""
    found = Services(list(names))
    for plugin in plugins:
        mine = Services(list(found.names))
        if _asked(plugin, "grpc_services", lambda *_: None, server=mine, services=tuple(found.names)):
            found = Services(mine.names, found.generic + mine.generic, found.registered + mine.registered)
    return found


def _ask(plugins: Iterable[Enabled], hook: str, add: Add) -> None:
    for plugin in plugins:
        _asked(plugin, hook, add)


def _asked(plugin: Enabled, hook: str, add: Add, **arguments: Any) -> bool:
    """Whether all went well; otherwise the catalogue knows what did not."""
    for one in plugin.of(hook):
        started = perf_counter()
        try:
            value = one.function(**one.arguments(arguments))
            if value is not None:
                add(value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  # foreign code may raise anything, as Rust's panics, or exit
            plugin.tally.add(perf_counter() - started, failed=True)
            plugin.broke(error, f"its {hook} cannot be used")
            return False
        plugin.tally.add(perf_counter() - started)
    return True


def _listed(value: Any, wanted: str) -> Iterator[Any]:
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise PluginError(f"{type(value).__name__} is not {wanted}")
    yield from value
