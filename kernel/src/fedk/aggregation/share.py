"""A share: one update's part in an accumulator, while its blocks are added."""

from dataclasses import dataclass

from fedk.aggregation.grid import Kind
from fedk.aggregation.terms import Terms


@dataclass(frozen=True, slots=True)
class Factors:
    """What the elements of one update are multiplied by."""

    stepped: float
    plain: float

    @classmethod
    def of(cls, terms: Terms) -> "Factors":
        return cls(terms.weight * terms.scale, terms.weight)

    def of_kind(self, kind: Kind) -> float:
        return self.stepped if kind is Kind.STEPPED else self.plain


@dataclass(frozen=True, slots=True)
class Share:
    """One update's, from `Accumulator.begin`: how its blocks are added."""

    factors: Factors
    first: bool  # nothing is there yet: it is put as it comes
    before: Factors | None  # those of the one that stands there as it came
    carries: bool  # there were many additions since digits were carried
