"""What a session's rules name, loaded: its aggregator, and what its updates travel in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fedk.api.aggregator import AnyAggregator
from fedk.api.config import Config
from fedk.rounds.coding import Coding
from fedk.rounds.rules import Rules


@dataclass(frozen=True, slots=True)
class Part:
    """A plugin that models are made with."""

    name: str
    version: str
    distribution: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """An aggregator that a session uses, with what goes around it and what follows it."""

    aggregator: AnyAggregator[Config]
    name: str
    version: str
    config: Mapping[str, Any]  # all that makes its models what they are: the trail's digests cover it
    parts: tuple[Part, ...]
    coding: Coding | None = None


class Aggregators(Protocol):
    """Where aggregators come from: the catalogue."""

    def __call__(self, rules: Rules) -> Loaded:
        """The one that `rules` name, with their settings. PluginError or ConfigError says what is wrong."""
