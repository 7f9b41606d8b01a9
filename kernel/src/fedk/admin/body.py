"""The body that starts a session: its rules, and what names it and its first model."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from fedk.api.errors import ConfigError
from fedk.api.mistake import Mistake, mistake, mistakes
from fedk.catalogue import Catalogue
from fedk.rounds.rules import NAME, Rules

_NAMES = ("name", "stem", "model")
"""Keys that name things; all others are rules."""
_STEM = "session"


class BadBody(ConfigError):
    """Mistakes with their keys, so that who sent it can say where they stand in a file."""

    def __init__(self, title: str, found: Sequence[Mistake]) -> None:
        super().__init__(title, [str(one) for one in found])
        self.found = tuple(found)


@dataclass(frozen=True, slots=True)
class Body:
    """What was asked for, checked."""

    rules: Rules
    name: str | None  # None: <stem>-<n>
    stem: str
    model: str | None  # a reference; None: asked of a client


def read(given: Any, catalogue: Catalogue) -> Body:
    """The body, whose plugins are imported. BadBody names all mistakes at once, those in the aggregator's own table
    included; PluginError one that cannot be used.
    """
    data = table(given)
    rules = {key: value for key, value in data.items() if key not in _NAMES}
    try:
        found, checked = [], Rules.model_validate(rules)
    except ValidationError as error:
        found, checked = mistakes(error, Rules, rules), Rules()
    found += _names(data)
    wrong = {one.key[:1] for one in found}
    for kind, default in (("aggregator", Rules().aggregator.use), ("codec", Rules().codec.use)):
        found += _driver(kind, rules.get(kind, {}), default, catalogue) if (kind,) not in wrong else []
    if found:
        raise BadBody(f"session: {len(found)} mistake{'s' if len(found) > 1 else ''}", found)
    _, wrap, then = checked.aggregator.names
    for key, names in (("wrap", wrap), ("then", (then,) if then else ())):
        for name in names:
            catalogue.load("aggregator", name, where=f"aggregator.{key}")
    return Body(checked, data.get("name"), data.get("stem", _STEM), data.get("model"))


def table(given: Any) -> Mapping[str, Any]:
    """A JSON object, or BadBody."""
    if not isinstance(given, dict):
        raise BadBody("the body is no JSON object: it wants keys as a session file has them", ())
    return given


def _names(data: Mapping[str, Any]) -> Iterable[Mistake]:
    for key in _NAMES:
        value = data.get(key)
        if value is None:
            continue
        if not isinstance(value, str) or not value:
            yield mistake((key,), value, "wants text, in quotes")
        elif key != "model" and not re.fullmatch(NAME, value):
            yield mistake((key,), value, "wants letters, digits, dot, dash and underscore, at most 100, no dash first")


def _driver(kind: str, section: Any, default: str, catalogue: Catalogue) -> list[Mistake]:
    """What the catalogue says of `use` and the tables below it; of none where there is nothing to choose."""
    use = section.get("use", default) if isinstance(section, Mapping) else ""
    return catalogue.check({kind: {**section, "use": use}}, idle=True) if use else []
