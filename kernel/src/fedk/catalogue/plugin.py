"""A loaded plugin, and what an inspection says of any: the CLI, REST and the page show the same."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from math import isfinite
from typing import Any

from pydantic import BaseModel, ValidationError

from fedk.api.columns import columns
from fedk.api.config import Config
from fedk.api.driver import Configured
from fedk.api.errors import ConfigError, PluginError
from fedk.api.mistake import SECRET, Mistake, mistakes
from fedk.catalogue.fields import config_of_fields
from fedk.catalogue.kind import KINDS

_NAMES = re.compile(r"(password|secret|token|credential|(api|access|private)_?key)(?!.*_file$)", re.IGNORECASE)
_URL = re.compile(r"(://[^:/@\s]*:)[^@/\s]+@")


@dataclass(frozen=True, slots=True)
class Plugin:
    """A driver's class or a hook plugin's class, module or object, with where it came from."""

    kind: str
    name: str
    distribution: str
    version: str
    cls: Any
    import_ms: float
    hooks: tuple[str, ...] = ()  # that it implements

    @property
    def config(self) -> type[Config]:
        """The model of its own keys; without keys where the family has none."""
        if self.kind == "codec" and isinstance(self.cls, type) and is_dataclass(self.cls):
            return config_of_fields(self.cls)
        return self.cls.config_type() if self.configurable else Config

    @property
    def configurable(self) -> bool:
        """Whether it is a class that takes settings."""
        return isinstance(self.cls, type) and issubclass(self.cls, Configured)

    def made(self, config: Config) -> Any:
        """The driver, or the object whose functions are the hooks."""
        if self.configurable:
            return self.cls(config)
        if self.kind == "codec":
            return self.cls(**config.model_dump())
        return self.cls() if isinstance(self.cls, type) else self.cls

    def check(self, table: Mapping[str, Any], spelt: str | None = None) -> list[Mistake]:
        """What is wrong in the plugin's own table, whose name may be spelt in another way. PluginError: its check is."""
        try:
            self.config.model_validate(table)
        except ValidationError as error:
            return mistakes(error, self.config, table, (KINDS[self.kind].section, spelt or self.name))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # foreign code: pydantic passes on what a validator raises beside ValueError
            raise PluginError(f"its settings cannot be checked: {type(error).__name__}: {error}") from error
        return []

    def shown(self, config: Config | None) -> tuple[Mapping[str, Any], dict[str, Any]]:
        """The schema of its keys, and the settings in force, as JSON without secrets. PluginError: there is none."""
        try:
            return _plain(self.config.model_json_schema()), _plain(masked(config)) if config is not None else {}
        except Exception as error:  # foreign code: not every type has a schema, or can be written
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            raise PluginError(f"its settings cannot be shown: {text}") from error

    def configured(self, table: Mapping[str, Any]) -> Config:
        """Its settings; ConfigError names every mistake."""
        if found := self.check(table):
            rows = columns((one.subject, one.text) for one in found)
            raise ConfigError(f'{self.kind} "{self.name}": {len(found)} mistake{"s" if len(found) > 1 else ""}', rows)
        return self.config.model_validate(table)


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginInfo:
    """One plugin that was found or asked for, in exactly one state."""

    kind: str  # aggregator | balancer | storage | db | codec | hook; a group that no family has, as it is written
    name: str
    state: str  # available | active | failed | missing | incompatible | disabled | shadowed
    distribution: str = ""
    version: str = ""
    file: str = ""
    summary: str = ""
    license: str = ""
    requires: str = ""  # of fedk
    import_ms: float | None = None  # None: not imported
    hooks: tuple[str, ...] = ()  # of a hook plugin that is imported: the functions that it implements
    calls: int = 0  # of its functions, by this process
    seconds: float = 0.0  # that they took
    failures: int = 0
    conformance: Mapping[str, Any] | None = None  # what its author recorded; None: nothing
    config_schema: Mapping[str, Any] | None = None  # None: not imported
    settings: Mapping[str, Any] = field(default_factory=dict)  # secrets masked
    error: str = ""
    hint: str = ""
    traceback: str = ""


ILL = ("failed", "missing", "incompatible")
"""States that need a person's attention."""


def used(info: PluginInfo) -> str:
    """How a configuration selects it; "" where that would not help."""
    if info.kind not in KINDS or info.state in ILL:
        return ""
    if info.kind == "hook":
        return f'[plugins] hooks = ["{info.name}"]'
    return f'[{KINDS[info.kind].section}] use = "{info.name}"'


def conformed(info: PluginInfo) -> str:
    """What its author recorded of its suite, in words."""
    found = info.conformance
    if found is None:
        return ""
    failed = f", {found['failed']} failed" if found.get("failed") else ""
    other = f" for {found['version']}" if found.get("version") != info.version else ""
    return f"{found['suite']}: {found['passed']} passed{failed} (recorded {found['recorded']}{other})"


def masked(values: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON, without their secrets."""
    plain = values.model_dump(mode="json") if isinstance(values, BaseModel) else values
    result: dict[str, Any] = _masked("", plain)
    return result


def _plain(value: Any) -> Any:
    """What JSON lacks becomes text: one infinite default would leave no plugin shown."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value)):
        return value
    return str(value).encode("utf-8", "replace").decode()


def _masked(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _masked(key, inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_masked(name, inner) for inner in value]
    if not isinstance(value, str) or not value:
        return value
    hidden = _NAMES.search(name) or set(value) == {"*"}  # asterisks: pydantic's own mask
    return SECRET if hidden else _URL.sub(rf"\g<1>{SECRET}@", value)
