"""What a benchmark found, as a line for people and an object for machines."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One measurement beside what the machine itself can do, and what is wanted."""

    name: str
    value: float
    unit: str  # "ms", "s", "GB/s"
    limit: str = ""  # what the machine was asked for comparison
    limit_value: float | None = None
    target: float | None = None
    more: bool = False  # more is better

    @property
    def ok(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.more else self.value <= self.target

    def line(self) -> str:
        beside = f"{self.limit} {self.limit_value:.3g}" if self.limit_value is not None else ""
        wanted = f"{'≥' if self.more else '≤'} {self.target:g}" if self.target is not None else ""
        verdict = {True: "ok", False: "missed", None: ""}[self.ok]
        return f"{self.name:42} {self.value:>8.3g} {self.unit:5} {beside:34} {wanted:>8}  {verdict}".rstrip()

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


def told(row: Row) -> Row:
    """The row, printed as it is found."""
    print(row.line(), flush=True)
    return row
