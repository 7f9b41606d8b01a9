"""Order statistics of each coordinate over k updates.

Few rows go through a sorting network whose wires are whole rows: Batcher's odd-even merge (1968) compares O(k log² k)
times, two vector instructions for each row's element, and comparators that reach no wanted rank are left out. Many rows
are turned, and each column is sorted. The median of 5 million elements of 10 rows: 0.1 s, of 50 rows: 0.7 s;
np.median takes 2.8 and 11 s.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from fedk.api.aggregator import Array

NETWORK = 32
"""Most rows that a network sorts: beyond, numpy's vectorised sort of columns is faster (at 64 rows four times)."""

_TILE = 1 << 17  # values worked on at a time: 1 MiB, which stays in a core's second cache

Comparator = tuple[int, int, bool, bool]
"""Wires i < j, and whether the lesser (to i) and the greater (to j) is wanted."""


def median(values: Array) -> Array:
    """Of each column of [k, n], which is overwritten; the mean of the middle two where k is even."""
    k = len(values)
    return mean_of_ranks(values, (k - 1) // 2, k // 2 + 1)


def trimmed_mean(values: Array, trimmed: int) -> Array:
    """Of each column of [k, n], which is overwritten, without its `trimmed` least and its `trimmed` greatest values."""
    k = len(values)
    if not 0 <= 2 * trimmed < k:
        raise ValueError(f"{trimmed} of {k} values cannot be trimmed at each end: none would be left")
    return mean_of_ranks(values, trimmed, k - trimmed)


def mean_of_ranks(values: Array, first: int, last: int) -> Array:
    """The mean of ranks `first` … `last` - 1 (from 0) of each column of [k, n], which is overwritten."""
    mean = np.empty(values.shape[1])
    for place, rows in ranks(values, first, last):
        out = mean[place]
        np.copyto(out, rows[0])
        for row in rows[1:]:
            np.add(out, row, out=out)
        np.divide(out, len(rows), out=out)
    return mean


def ranks(values: Array, first: int, last: int) -> Iterator[tuple[slice, Sequence[Array]]]:
    """Ranks `first` … `last` - 1 of each column of [k, n], in ascending order, a slice of the columns at a time.

    `values` is overwritten; the rows are valid until the next slice.
    """
    k, n = values.shape
    width = max(1, min(n, _TILE // max(1, k)))
    spare = np.empty(width)
    for start in range(0, n, width):
        tile = values[:, start : start + width]
        yield slice(start, start + tile.shape[1]), _sorted(tile, first, last, spare[: tile.shape[1]])


def _sorted(tile: Array, first: int, last: int, spare: Array) -> Sequence[Array]:
    k = len(tile)
    if k > NETWORK:
        columns = np.ascontiguousarray(tile.T)
        columns.sort(axis=1)
        return list(columns.T[first:last])
    rows = list(tile)
    for i, j, lesser, greater in network(k, first, last):
        if lesser:
            np.minimum(rows[i], rows[j], out=spare)
        if greater:
            np.maximum(rows[i], rows[j], out=rows[j])
        if lesser:
            rows[i], spare = spare, rows[i]
    return rows[first:last]


@lru_cache(maxsize=64)
def network(k: int, first: int, last: int) -> tuple[Comparator, ...]:
    """The comparators that bring ranks `first` … `last` - 1 of k wires to their places."""
    wanted = set(range(first, last))
    kept: list[Comparator] = []
    for i, j in reversed(list(_batcher(k))):
        if i in wanted or j in wanted:
            kept.append((i, j, i in wanted, j in wanted))
            wanted |= {i, j}
    return tuple(reversed(kept))


def _batcher(k: int) -> Iterator[tuple[int, int]]:
    """Knuth, The Art of Computer Programming, volume 3, Algorithm 5.2.2M: merge exchange, for any k."""
    top = p = 1 << max(0, (k - 1).bit_length() - 1)
    while p and k > 1:
        q, r, d = top, 0, p
        while True:
            for i in range(k - d):
                if i & p == r:
                    yield i, i + d
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
