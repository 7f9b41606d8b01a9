"""The geometry of a round: distances and norms of its updates' deltas, from their Gram matrix in float64."""

import numpy as np

from fedk.aggregation.blas import ONE_THREAD
from fedk.aggregation.stack import Stack
from fedk.api.aggregator import Array, Geometry
from fedk.api.errors import FormulaError

MOST = 2_000
"""Updates: their distances are a matrix, of 32 MB then."""


def geometry(stack: Stack) -> Geometry:
    """One pass. Deltas, not models: of weights around 1 and steps around 1e-4 a product of models keeps no digit."""
    k = len(stack)
    if k > MOST:
        raise FormulaError(
            f"distances between {k:,} updates are a matrix of {k * k:,} numbers; at most {MOST:,} updates are compared. "
            f"Lower clients.max or clients.fraction, or choose a coordinate-wise aggregator"
        )
    gram = _gram(stack)
    norms = gram.diagonal().copy()
    return Geometry(_distances(gram, norms), norms)


def _gram(stack: Stack) -> Array:
    k, everyone = len(stack), range(len(stack))
    total, part, rows = np.zeros((k, k)), np.empty((k, k)), stack.rows(k)
    with ONE_THREAD, np.errstate(over="ignore", invalid="ignore"):  # what overflows is infinitely far
        for run in stack.grid.runs:
            for start, count in stack.blocks(run) if run.kind.floats else ():
                deltas = rows[:, :count]
                stack.read(everyone, run, start, deltas)
                stack.subtract_bases(everyone, run, start, deltas)
                total += np.dot(deltas, deltas.T, out=part)
    return total


def _distances(gram: Array, norms: Array) -> Array:
    """‖a - b‖² = ‖a‖² + ‖b‖² - 2ab, in the Gram matrix's own memory."""
    with np.errstate(over="ignore", invalid="ignore"):
        for i in range(len(norms)):
            row = (norms[i, None] + norms[i:]) - 2 * gram[i, i:]
            gram[i, i:] = gram[i:, i] = np.where(np.isfinite(row), np.maximum(row, 0), np.inf)
    np.fill_diagonal(gram, 0)
    return gram
