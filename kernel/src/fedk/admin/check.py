"""What checking a model has shown, and how far it was checked."""

from dataclasses import dataclass
from typing import Any

from fedk.rounds.replay import Replayed


@dataclass(frozen=True, slots=True)
class Check:
    """Of one model; "" where nothing is wrong."""

    bytes: str  # what is wrong with them
    digest: str
    collected: str  # by which rule its bytes are gone
    replayed: Replayed | None = None  # None: it was not tried

    @property
    def verified(self) -> str:
        """The most that was shown: nothing | digest | hash | replayed, each with all before it."""
        if self.digest:
            return "nothing"
        if self.bytes or self.collected:
            return "digest"
        return "replayed" if self.replayed == Replayed() else "hash"

    @property
    def _untried(self) -> str:
        if self.bytes or self.collected:
            return "its bytes are not there to compare with"
        return "not asked for: ?replay=true"

    def document(self) -> dict[str, Any]:
        tried = self.replayed or Replayed(unable=self._untried)
        return {
            "bytes": self.bytes,
            "digest": self.digest,
            "collected": self.collected,
            "replay": tried.differs,
            "not_replayed": tried.unable,
            "verified": self.verified,
            "whole": not (self.bytes or self.digest or tried.differs),
        }
