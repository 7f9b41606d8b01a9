"""What several aggregators share, documented and tested once: a plugin adds its own line."""

from fedk.api.formulas.adaptive import Adaptive, AdaptiveConfig, DecayingConfig
from fedk.api.formulas.krum import krum_scores
from fedk.api.formulas.sorting import median, ranks, trimmed_mean
from fedk.api.formulas.weighting import WeightedMean, WeightingConfig

__all__ = [
    "Adaptive",
    "AdaptiveConfig",
    "DecayingConfig",
    "WeightedMean",
    "WeightingConfig",
    "krum_scores",
    "median",
    "ranks",
    "trimmed_mean",
]
