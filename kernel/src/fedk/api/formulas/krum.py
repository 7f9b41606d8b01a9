"""Krum's scores: Blanchard et al., Machine Learning with Adversaries, NeurIPS 2017, section 4."""

import numpy as np

from fedk.api.aggregator import Array


def krum_scores(distances: Array, byzantine: int) -> Array:
    """Σ of each update's squared distances to its n - f - 2 (at least one) nearest others, of [n, n] squared distances.

    Sorted before they are summed: equal neighbourhoods have equal scores, to the last bit.
    """
    n = len(distances)
    others = np.array(distances)
    np.fill_diagonal(others, np.inf)  # itself is last, not nearest
    others.sort(axis=1)
    nearest = max(1, n - byzantine - 2)
    scores: Array = np.add.reduce(others[:, :nearest], axis=1)
    return scores
