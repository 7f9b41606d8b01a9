"""Columns: what a message says of many tasks, a value for each in their order, as small as protobuf packs it."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, chain
from operator import sub
from typing import TypeVar

T = TypeVar("T")

LARGEST = 2**32 - 1
"""Number that a task can have where `gaps` name it."""


def gaps(numbers: Iterable[int]) -> list[int]:
    """Of ascending numbers the first, then the distance to each next one: most of them are one byte."""
    found = list(numbers)
    return list(map(sub, found, [0, *found]))


def numbers(gaps: Iterable[int]) -> list[int]:
    """What `gaps` was made of. ValueError where `gaps` could not say it again."""
    found = list(accumulate(gaps))
    if found and found[-1] > LARGEST:
        raise ValueError(f"a task of number {found[-1]:,}, at most {LARGEST:,}")
    return found


def column(rows: Sequence[Sequence[T]]) -> list[T]:
    """Row after row; the first one alone where all are the same."""
    return list(chain.from_iterable(rows[:1] if all(row == rows[0] for row in rows) else rows))


def rows(column: Sequence[T], width: int, count: int) -> Sequence[Sequence[T]]:
    """What `column` was made of: so many rows, so wide. ValueError where it was something else."""
    if len(column) == width:
        return [column] * count
    if len(column) != width * count:
        raise ValueError(f"a column of {len(column)} values for {count} rows of {width}")
    return [column[at : at + width] for at in range(0, len(column), width)]


def cut(data: bytes, size: int, count: int) -> list[bytes]:
    """Pieces of the same size. ValueError where there are not so many."""
    if len(data) != size * count:
        raise ValueError(f"{len(data)} bytes for {count} times {size}")
    return [data[at : at + size] for at in range(0, len(data), size)]
