"""What a plugin's functions cost: calls, seconds, failures."""

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """Of one plugin, in this process."""

    calls: int = 0
    seconds: float = 0.0
    failures: int = 0

    def add(self, seconds: float, *, failed: bool = False) -> None:
        self.calls += 1
        self.seconds += seconds
        self.failures += failed
