"""Bulyan: El Mhamdi et al., The Hidden Vulnerability of Distributed Learning in Byzantium, ICML 2018, section 4."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from fedk.api.aggregator import Aggregator, Array, Config, Recipe, Round, Updates
from fedk.api.formulas import krum_scores, ranks


class BulyanConfig(Config):
    """How many may lie, and how they are chosen."""

    byzantine: int = Field(1, ge=0, description="f, updates that may be anything; 4f + 3 are needed")
    selection: Literal["iterative", "one-pass"] = Field(
        "iterative", description="Krum once for each pick among those left, or the best by one Krum (as Flower does)"
    )


class Bulyan(Aggregator[BulyanConfig]):
    """θ = n - 2f updates by Krum; of each coordinate the mean of the θ - 2f values nearest the median of those.

    Each pick is Krum's among those that are left, with their own number for n: read literally, with the first n, the
    last picks count neighbours that are gone, and f = 1, n = 7 takes in a far attacker every time.
    """

    def minimum(self) -> int:
        return 4 * self.config.byzantine + 3

    def aggregate(self, updates: Updates, r: Round) -> Recipe:
        return updates.coordinates(self.nearest_the_median, self.select(updates.geometry().distances))

    def select(self, distances: Array) -> list[int]:
        """Indices of the θ picks."""
        f, left, picks = self.config.byzantine, list(range(len(distances))), list[int]()
        if self.config.selection == "one-pass":
            return [int(i) for i in np.argsort(krum_scores(distances, f), kind="stable")[: len(left) - 2 * f]]
        while len(picks) < len(distances) - 2 * f:
            picks.append(left.pop(int(np.argmin(krum_scores(distances[np.ix_(left, left)], f)))))
        return picks

    def nearest_the_median(self, values: Array, weights: Array) -> Array:
        """The mean of the θ - 2f values of each column that are nearest their median: neighbours, once they are sorted."""
        mean = np.empty(values.shape[1])
        count = len(values) - 2 * self.config.byzantine
        for place, rows in ranks(values, 0, len(values)):
            mean[place] = _mean_from(rows, _first(rows, count), count)
        return mean


def _first(rows: Sequence[Array], count: int) -> Array:
    """Rank of the least of the `count` values nearest the median; of two equally near, the lesser counts."""
    middle = (rows[(len(rows) - 1) // 2] + rows[len(rows) // 2]) / 2
    higher: Array = np.add.reduce(
        [middle - rows[i] > rows[i + count] - middle for i in range(len(rows) - count)], axis=0
    )
    return higher


def _mean_from(rows: Sequence[Array], first: Array, count: int) -> Array:
    total = np.zeros(len(first))
    for rank, row in enumerate(rows):  # never by taking away what is outside: a liar's 1e30 would leave no digit
        np.add(total, row, out=total, where=(first <= rank) & (rank < first + count))
    return total / count
