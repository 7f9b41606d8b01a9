"""FedMedian: Yin et al., Byzantine-Robust Distributed Learning, ICML 2018, Definition 1 and Algorithm 1, option I."""

from fedk.api.aggregator import Array, Config, CoordinateAggregator
from fedk.api.formulas import median


class FedMedian(CoordinateAggregator[Config]):
    """Each coordinate of the next model is the median of that coordinate of the models; unweighted.

    Of an even number the mean of the middle two.
    """

    def combine(self, values: Array, weights: Array) -> Array:
        return median(values)
