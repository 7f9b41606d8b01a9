"""The families of plugins: the entry-point group of each, and the contract that its classes fulfil."""

from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = "fedk."


@dataclass(frozen=True, slots=True)
class Kind:
    """One family. `contract` is imported when the first of its plugins is loaded."""

    name: str
    group: str
    contract: str | None

    @property
    def section(self) -> str:
        """The table of the configuration that its plugins' own tables stand in."""
        return "hooks" if self.name == "hook" else self.name


_ALL = (
    Kind("aggregator", "fedk.aggregators", "fedk.api.aggregator:AnyAggregator"),
    Kind("balancer", "fedk.balancers", "fedk.api.balancer:Balancer"),
    Kind("storage", "fedk.storage", "fedk.api.storage:Storage"),
    Kind("db", "fedk.db", "fedk.api.db:Database"),
    Kind("codec", "fedk.codecs", "fedk.api.codec:Codec"),
    Kind("hook", "fedk.hooks", None),
)
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _ALL}
GROUPS: Mapping[str, str] = {kind.group: kind.name for kind in _ALL}
