"""FedNova's half at the client: Wang et al., Tackling the Objective Inconsistency Problem, NeurIPS 2020, section 4."""


class LocalSteps:
    """How much a client works in a round: ‖a‖₁, a the weights of its gradients in what it moves by.

    Count every step of the local optimiser, and report `norm` as the metric `local_steps`. For plain SGD that is the
    number of steps; for SGD with momentum ρ up to 1/(1 - ρ) times as much; with a proximal term, less.

    `proximal` is η·μ: the local learning rate times FedProx's μ.
    """

    def __init__(self, *, momentum: float = 0.0, proximal: float = 0.0) -> None:
        if not (0 <= momentum < 1 and 0 <= proximal < 1):
            raise ValueError(f"momentum={momentum}, proximal={proximal}: both lie between 0 and 1")
        self._momentum, self._proximal = momentum, proximal
        self._velocity = self._moved = 0.0

    def add(self, count: int = 1) -> None:
        """So many more steps."""
        for _ in range(count):
            # one step on a loss whose gradient is -1 everywhere, with a learning rate of 1: it moves by Σ a
            self._velocity = self._momentum * self._velocity + 1 - self._proximal * self._moved
            self._moved += self._velocity

    @property
    def norm(self) -> float:
        """‖a‖₁ of the steps so far."""
        return self._moved
