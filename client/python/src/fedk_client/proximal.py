"""FedProx's half at the client: Li et al., Federated Optimization in Heterogeneous Networks, MLSys 2020, equation 2."""

from typing import Any

from fedk_client import gradients as g


class ProximalTerm:
    """½μ‖w - x‖² beside the loss, where x is what `model` holds now. Its gradient is μ(w - x).

    Make it before the first step, with `task.setting("proximal_mu", 0.0)`; at 0 it costs nothing and does nothing.
    """

    def __init__(self, model: object, mu: float) -> None:
        self._mu = mu
        self._x = g.copies(model) if mu else {}

    def correct(self, model: object, gradients: dict[str, Any] | None = None) -> None:
        """Add μ(w - x) to each gradient, after `backward()` and before the step.

        `model` is a torch module, or a dict of arrays with `gradients` of the same names, changed in place.
        """
        if self._mu:
            now = g.weights(model)
            g.add({name: self._mu * (now[name] - x) for name, x in self._x.items()}, model, gradients)
