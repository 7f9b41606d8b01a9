"""What a benchmark found: a line for people, an object for machines."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One measurement, beside what the machine itself can do, and what is wanted of either."""

    name: str
    value: float | None = None  # None: it could not be measured, as `reason` says
    unit: str = ""
    beside: str = ""  # what `of` is: measured in the same run, in the same unit
    of: float | None = None
    target: float | None = None
    more: bool = False  # more is better
    relative: bool = False  # the target is the ratio's
    reason: str = ""
    curve: str = ""  # that it is a point of
    x: float | None = None  # where

    @property
    def ratio(self) -> float | None:
        """To what it stands beside, else to its target."""
        base = self.of if self.of is not None else self.target
        return self.value / base if self.value is not None and base else None

    @property
    def verdict(self) -> str:
        """met | miss, or nothing where nothing is wanted."""
        if self.reason:
            return "miss"
        judged = self.ratio if self.relative else self.value
        if self.target is None or judged is None:
            return ""
        return "met" if (judged >= self.target if self.more else judged <= self.target) else "miss"

    @property
    def found(self) -> str:
        return f"{_digits(self.value)} {self.unit}" if self.value is not None else "–"

    @property
    def compared(self) -> str:
        return f"{self.beside} {_digits(self.of)} {self.unit}" if self.of is not None else ""

    @property
    def wanted(self) -> str:
        if self.target is None:
            return ""
        return f"{'≥' if self.more else '≤'} {self.target:g} {'×' if self.relative else self.unit}"

    @property
    def cells(self) -> tuple[str, ...]:
        """As a table shows it."""
        ratio = f"{self.ratio:.2f} ×" if self.ratio is not None else ""
        return self.name, self.found, self.compared, ratio, self.wanted, self.verdict, self.reason

    def line(self) -> str:
        name, found, compared, ratio, wanted, verdict, reason = self.cells
        shown = f"{name:44} {found:>12}  {compared:34} {ratio:>9} {wanted:>11}  {reason}"
        return f"{shown.rstrip()}  {verdict}".rstrip()

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "verdict": self.verdict}


def read(document: dict[str, Any]) -> Row:
    """What `document` wrote."""
    return Row(**{key: value for key, value in document.items() if key not in ("ratio", "verdict")})


def _digits(value: float) -> str:
    """Three that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004  # three digits before the point
