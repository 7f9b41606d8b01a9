"""Where the elements of a grid stand in a blob that may order its tensors in another way."""

from bisect import bisect_right
from collections.abc import Iterator

import numpy as np

from fedk.aggregation.grid import Grid
from fedk.aggregation.numbers import DType
from fedk_protocol.codec import Layout


class Places:
    """Of one layout. It keeps no header: those of many updates together may be long."""

    def __init__(self, grid: Grid, layout: Layout) -> None:
        runs = sorted((run for run in grid.line_up(layout, joined=True) if run.count), key=lambda run: run.at)
        self._at = np.array([run.at for run in runs], np.int64)
        self._offset = np.array([run.offset for run in runs], np.int64)

    def pieces(self, at: int, count: int, dtype: DType) -> Iterator[tuple[slice, int]]:
        """Elements `at` … of the grid, which are of `dtype`: parts of 0 … count, each with its place in the blob."""
        end, first = at + count, at
        while first < end:
            i = bisect_right(self._at, first) - 1
            last = min(end, int(self._at[i + 1])) if i + 1 < len(self._at) else end
            yield slice(first - at, last - at), int(self._offset[i]) + (first - int(self._at[i])) * dtype.itemsize
            first = last
