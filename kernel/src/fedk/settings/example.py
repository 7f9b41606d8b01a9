"""A complete, commented `fedk.toml`, made from the schema: loaded, it gives the defaults."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from fedk.api.columns import columns
from fedk.api.toml import toml, toml_key
from fedk.settings.settings import Choice, Settings, sections

_HEAD = """\
# fedk.toml: every line is optional; these are the defaults.
# A variable of the environment overrides a key: FEDK_SERVER__LISTEN=127.0.0.1:7000"""
_HOOKS = """\
# [hooks.NAME]                  # settings of one hook plugin"""


def example(drivers: Mapping[str, Mapping[str, type[BaseModel]]]) -> str:
    """The file's text. `drivers`: by kind and name, the settings of the drivers that are installed."""
    defaults = Settings().model_dump(mode="json")
    parts = [_HEAD]
    for section, model in sections():
        parts.append("\n".join([f"[{section}]", *_keys(model, defaults[section])]))
        if issubclass(model, Choice):
            parts += _drivers(section, drivers.get(section, {}), defaults[section]["use"])
        if section == "plugins":
            parts.append(_HOOKS)
    return "\n\n".join(parts) + "\n"


def _drivers(section: str, configs: Mapping[str, type[BaseModel]], use: str) -> Iterator[str]:
    """The selected driver's table; the others' are comments, for they may need keys that have no default."""
    for name, config in sorted(configs.items()):
        keys = list(_keys(config, _defaults(config)))
        lines = [f"[{toml_key(section, name)}]", *keys]
        if keys:
            yield "\n".join(lines if name == use else [f"# {line}" for line in lines])


def _keys(model: type[BaseModel], values: Mapping[str, Any]) -> Iterable[str]:
    rows = []
    for name, field in model.model_fields.items():
        known = values.get(name) is not None
        key = f"{toml_key(name)} = {toml(values[name])}" if known else f"# {toml_key(name)} ="
        rows.append((key, f"# {field.description}"))
    return columns(rows)


def _defaults(config: type[BaseModel]) -> dict[str, Any]:
    fields = config.model_fields.items()
    unchecked = config.model_construct(
        **{name: field.get_default(call_default_factory=True) for name, field in fields if not field.is_required()}
    )
    return unchecked.model_dump(mode="json", exclude_unset=True)
