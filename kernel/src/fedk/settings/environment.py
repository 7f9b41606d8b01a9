"""Overrides from the environment: FEDK_SECTION__KEY, FEDK_DB__SQLITE__PATH for a driver's own keys."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedk.api.mistake import Mistake
from fedk.api.toml import parsed
from fedk.settings.settings import sections

PREFIX = "FEDK_"
_SEPARATOR = "__"

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Override:
    """One variable that sets one key."""

    variable: str
    key: Key
    value: Any


def overrides(environment: Mapping[str, str]) -> Iterator[Override]:
    """One for each variable that names a section and a key, in the order of their names."""
    for variable, text in sorted(environment.items()):
        key = tuple(part.lower() for part in variable.removeprefix(PREFIX).split(_SEPARATOR))
        if variable.startswith(PREFIX) and len(key) > 1 and all(key):
            yield Override(variable, key, text if key in _texts() else parsed(text))


def misspelt(environment: Mapping[str, str]) -> list[Mistake]:
    """Variables that name a setting with one underscore for two; other FEDK_… belong to others (Kubernetes sets some)."""
    single = {_variable(key, "_"): _variable(key, _SEPARATOR) for key in _keys()}
    return [
        Mistake((), f"{name}={environment[name]}", f"sets nothing. Did you mean {single[name]}?")
        for name in sorted(environment.keys() & single.keys())
    ]


def merged(data: Mapping[str, Any], found: list[Override]) -> tuple[dict[str, Any], dict[Key, str]]:
    """The file's data with the overrides in it, and which variable set which key."""
    result, variables = _copied(data), dict[Key, str]()
    for override in found:
        key = _set(result, override.key, override.value)
        variables[key] = override.variable
    return result, variables


def _set(table: dict[str, Any], key: Key, value: Any) -> Key:
    """Sets it, and gives the key as the tables spell it: a driver's name may hold dashes, a variable's cannot."""
    *above, name = key
    spelt: list[str] = []
    for part in above:
        known = next((k for k in table if k.replace("-", "_") == part), part)
        if len(spelt) == 1 and known == part:
            known = part.replace("_", "-")  # the name of a driver or hook
        spelt.append(known)
        inner = table.setdefault(known, {})
        if not isinstance(inner, dict):  # the file has a value where a table must be: the variable's wins
            inner = table[known] = {}
        table = inner
    table[name] = value
    return (*spelt, name)


def _copied(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _copied(value) if isinstance(value, dict) else value for name, value in data.items()}


def _keys() -> Iterator[Key]:
    for section, model in sections():
        yield from ((section, name) for name in model.model_fields)


def _texts() -> frozenset[Key]:
    """Keys that hold text: there, 1 is "1"."""
    models = dict(sections())
    return frozenset(key for key in _keys() if models[key[0]].model_fields[key[1]].annotation in (str, Path))


def _variable(key: Key, separator: str) -> str:
    return PREFIX + separator.join(key).upper()
