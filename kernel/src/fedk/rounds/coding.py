"""What a session's updates travel in."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fedk.api.codec import BlockCodec

CAPABILITY = "codec:{}"
"""What a client says in its Hello that has a codec."""


@dataclass(frozen=True, slots=True)
class Coding:
    """A codec of updates, with its settings."""

    codec: BlockCodec
    version: str

    @property
    def name(self) -> str:
        return self.codec.name

    @property
    def settings(self) -> Mapping[str, Any]:
        """By field."""
        return asdict(self.codec)  # type: ignore[call-overload, no-any-return]  # checked when it was loaded

    @property
    def told(self) -> str:
        """The settings as tasks tell them."""
        return json.dumps(self.settings, sort_keys=True) if self.settings else ""

    @property
    def config(self) -> list[Any]:
        """For the trail."""
        return [self.name, self.version, dict(self.settings)]
