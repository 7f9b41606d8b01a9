"""FedYogi: Reddi et al., Adaptive Federated Optimization, ICLR 2021, Algorithm 2."""

import numpy as np

from fedk.api.aggregator import Array
from fedk.api.formulas import Adaptive, DecayingConfig


class FedYogiConfig(DecayingConfig):
    """As all adaptive optimisers."""


class FedYogi(Adaptive[FedYogiConfig]):
    """Adam at the server whose second moment moves by a bounded amount."""

    def second_moment(self, v: Array, d: Array) -> Array:
        """v - (1-β₂)·d²·sign(v - d²) (Algorithm 2, FedYogi): towards d² by at most (1-β₂)·d²."""
        return v - (1 - self.config.beta_2) * d**2 * np.sign(v - d**2)
