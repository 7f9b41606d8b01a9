"""A configuration as it was found: settings, where each came from, and all mistakes."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fedk.api.columns import columns
from fedk.api.errors import ConfigError
from fedk.api.mistake import Mistake, mistake, mistakes
from fedk.api.suggestion import did_you_mean
from fedk.settings import environment, file
from fedk.settings.address import is_address, is_loopback
from fedk.settings.settings import Choice, Server, Settings, sections
from fedk_protocol.address import host_port

Key = tuple[str, ...]

_EXPOSED = (
    "is beyond this machine, without TLS and tokens: "
    'set server.insecure = true to allow that, or listen on "127.0.0.1:{port}"'
)


@dataclass(frozen=True, slots=True)
class Configuration:
    """`settings` has defaults where there are mistakes: use what `checked` gives."""

    settings: Settings
    data: Mapping[str, Any]  # as it stands in the file and the environment
    file: Path | None
    lines: Mapping[Key, int]
    variables: Mapping[Key, str]
    mistakes: tuple[Mistake, ...]

    def checked(self, more: Iterable[Mistake] = ()) -> Settings:
        """The settings, where nothing is wrong: neither here nor in `more`, which the catalogue found."""
        found = [*self.mistakes, *more]
        if found:
            found.sort(key=lambda one: self._rank(one.key))
            rows = [(self.place(one.key), one.subject, one.text) for one in found]
            cause = next((one.cause for one in found if one.cause is not None), None)
            raise ConfigError(self._title(len(found)), columns(rows)) from cause
        return self.settings

    @property
    def drivers(self) -> dict[str, dict[str, Any]]:
        """For the catalogue, by kind: `use`, and the table of each driver that has one."""
        return {kind: _choice(model, self.data.get(kind)) for kind, model in sections() if issubclass(model, Choice)}

    def place(self, key: Key) -> str:
        """Where it was set, in few words: "line 3", "FEDK_DB__USE", "default"."""
        for above in (key[:size] for size in range(len(key), 0, -1)):
            if above in self.variables:
                return self.variables[above]
            if above in self.lines and (above == key or len(above) > 1):  # a section's header sets none of its keys
                return f"line {self.lines[above]}"
        inside = (variable for other, variable in self.variables.items() if other[: len(key)] == key)
        return next(inside, "default") if key else "environment"

    def origin(self, key: Key) -> str:
        """Where it was set: "fedk.toml line 3", "FEDK_DB__USE", "default"."""
        place = self.place(key)
        return f"{self.file} {place}" if place.startswith("line ") else place

    def source(self, *key: str) -> str:
        """For an error's sentence: "fedk.toml line 3: storage.use"."""
        return f"{self.origin(key)}: {'.'.join(key)}"

    def _title(self, count: int) -> str:
        where = str(self.file) if self.file is not None else "configuration"
        return f"{where}: {count} mistake{'s' if count > 1 else ''}"

    def _rank(self, key: Key) -> tuple[int, str]:
        place = self.place(key)
        return (int(place[5:]), "") if place.startswith("line ") else (1 << 30, place)


def load(path: Path | None = None, env: Mapping[str, str] | None = None) -> Configuration:
    """The file at `path` (without one `./fedk.toml`, if there is one) under the variables of `env`.

    Raises ConfigError only for a file that cannot be read as TOML; every other mistake is in `.mistakes`.
    """
    found, env = file.read(path), env or {}
    data, variables = environment.merged(found.data, list(environment.overrides(env)))
    settings, wrong = _validated(data)
    wrong += environment.misspelt(env)
    wrong += _listeners(data)
    return Configuration(settings, data, found.path, found.lines, variables, tuple(wrong))


def _validated(data: Mapping[str, Any]) -> tuple[Settings, list[Mistake]]:
    try:
        return Settings.model_validate(data), []
    except ValidationError as error:
        wrong = [_explained(one, data) for one in mistakes(error, Settings, data)]
    bad = {one.key[0] for one in wrong}
    return Settings.model_validate({name: table for name, table in data.items() if name not in bad}), wrong


def _explained(one: Mistake, data: Mapping[str, Any]) -> Mistake:
    """In a file's words. A driver's key beside `use` is the mistake that people make: say where it goes."""
    section, *inner = one.key
    model = dict(sections()).get(section)
    if model is None and not inner and isinstance(data[section], Mapping):
        near = did_you_mean(section, Settings.model_fields, "[{}]")
        return mistake(one.key, {}, f"is not a section here.{near}")
    if model is None or not issubclass(model, Choice) or len(inner) != 1 or inner[0] == "use":
        return one
    use = data[section].get("use", model.model_fields["use"].default)
    text = f"is not a key here: a driver's keys stand under its name, [{section}.{use}] {inner[0]} = …"
    return mistake(one.key, data[section][inner[0]], text)


def _choice(model: type[Choice], given: Any) -> dict[str, Any]:
    """Of a section, what can be checked by the catalogue, whatever else is wrong in it."""
    section = given if isinstance(given, Mapping) else {}
    use, default = section.get("use"), model.model_fields["use"].default
    tables = {name: table for name, table in section.items() if isinstance(table, Mapping)}
    return {"use": use if isinstance(use, str) else default, **tables}


def _listeners(data: Mapping[str, Any]) -> Iterator[Mistake]:
    """What is wrong with well-formed addresses, whatever else is wrong in the section."""
    server = data.get("server")
    given = server if isinstance(server, dict) else {}
    defaults = Server()
    addresses = {name: given.get(name, getattr(defaults, name)) for name in ("listen", "admin")}
    for name, address in addresses.items():
        if is_address(address) and not is_loopback(address) and given.get("insecure") is not True:
            yield mistake(("server", name), address, _EXPOSED.format(port=host_port(address)[1]))
    listen, admin = addresses.values()
    if listen == admin and is_address(listen) and host_port(listen)[1]:
        yield mistake(("server", "admin"), admin, "is server.listen too: give each a port of its own")
