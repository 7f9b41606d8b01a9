"""What `stop_when` says: a target for a metric, or patience with it."""

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_TARGET = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*(>=|<=|>|<)\s*([-+0-9.eE]+)\s*")
_PATIENCE = re.compile(r"\s*([A-Za-z0-9_.-]+)\s+no\s+(higher|lower)\s+for\s+([1-9][0-9]*)\s+rounds?\s*")


class Condition(Protocol):
    """On one metric of a session."""

    @property
    def metric(self) -> str:
        """Its name, with the kind of its task."""

    def met(self, curve: Mapping[int, float]) -> str:
        """Why no further round is wanted, or "". `curve` has the metric's mean by round; some may be missing."""


@dataclass(frozen=True, slots=True)
class Target:
    """`validate.accuracy >= 0.97`."""

    metric: str
    comparison: str
    number: float

    def met(self, curve: Mapping[int, float]) -> str:
        newest = max(curve, default=None)
        if newest is None or not _COMPARE[self.comparison](curve[newest], self.number):
            return ""
        return f"{self.metric} {curve[newest]:.6g} {self.comparison} {self.number:.6g} in round {newest}"


@dataclass(frozen=True, slots=True)
class Patience:
    """`validate.loss no lower for 5 rounds`: than in any round before them."""

    metric: str
    higher: bool  # what would be better
    rounds: int

    def met(self, curve: Mapping[int, float]) -> str:
        sign = 1 if self.higher else -1
        best = max(curve, key=lambda no: (sign * curve[no], -no), default=None)  # the first of equals
        if best is None or max(curve) - best < self.rounds:
            return ""
        better = "higher" if self.higher else "lower"
        return f"{self.metric} no {better} than {curve[best]:.6g} of round {best} for {max(curve) - best} rounds"


def condition(text: str) -> Condition | None:
    """What `stop_when = text` asks for; None for "". ValueError says what may stand there."""
    if not text.strip():
        return None
    if match := _TARGET.fullmatch(text):
        return Target(match[1], match[2], float(match[3]))
    if match := _PATIENCE.fullmatch(text):
        return Patience(match[1], match[2] == "higher", int(match[3]))
    raise ValueError(
        'wants METRIC >= NUMBER (or <=, >, <), for example "validate.accuracy >= 0.97", '
        'or METRIC no higher for N rounds (or no lower), for example "validate.loss no lower for 5 rounds"'
    )
