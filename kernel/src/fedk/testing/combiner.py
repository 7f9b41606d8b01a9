"""Combiners for tests: who sums what, and how the sums travel."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Combiner:
    """The sum of some answers, by their numbers, and of other combiners' sums."""

    parts: "tuple[int | Combiner, ...]"
    exported: bool = False  # its sums travel as bytes, as between servers; otherwise they are merged in memory


def trees(count: int) -> Any:
    """A hypothesis strategy: random trees of combiners over the answers 0 … count - 1, each once, in any order."""
    from hypothesis import strategies as st  # noqa: PLC0415 — `aggregate` needs no test library

    @st.composite
    def grown(draw: Callable[..., Any]) -> Combiner:
        return _grown(draw, st, draw(st.permutations(range(count))), depth=3)

    return grown()


def _grown(draw: Callable[..., Any], st: Any, numbers: list[int], depth: int) -> Combiner:
    parts: list[int | Combiner] = []
    for group in _cut(numbers, draw(st.sets(st.integers(1, max(1, len(numbers) - 1)), max_size=3))):
        if depth and draw(st.booleans()):
            parts.append(_grown(draw, st, group, depth - 1))
        else:
            parts.extend(group)
    return Combiner(tuple(parts), draw(st.booleans()))


def _cut(numbers: list[int], places: set[int]) -> Iterator[list[int]]:
    for begin, end in zip([0, *sorted(places)], [*sorted(places), len(numbers)], strict=True):
        if begin < end:
            yield numbers[begin:end]
