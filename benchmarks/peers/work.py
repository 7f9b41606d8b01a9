"""What every server is given to do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """So many rounds of echo clients: what comes is given back."""

    clients: int
    weights: int  # float32
    rounds: int  # the first is not counted: processes start in it

    @property
    def name(self) -> str:
        kilobytes = 4 * self.weights // 1000
        size = f"{kilobytes} kB" if kilobytes < 1000 else f"{kilobytes // 1000} MB"  # noqa: PLR2004  # of the unit
        return f"{self.clients} clients × {size}"

    @property
    def small(self) -> bool:
        """Whether a round is all words and waits."""
        return self.weights < 1_000_000  # noqa: PLR2004  # 4 MB
