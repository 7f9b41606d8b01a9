"""How much is measured: all of it, or just enough to see that it can be."""

from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Scale:
    quick: bool = False

    def __call__(self, full: T, quick: T) -> T:
        return quick if self.quick else full
