"""SCAFFOLD's half at the client: Karimireddy et al., ICML 2020, Algorithm 1 with option II."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedk_client import gradients as g
from fedk_client.adapters import adapter_of
from fedk_client.task import Task
from fedk_protocol.codec import Arrays

CONTROL = "control"
"""The name of c among what the server sends, and of Δcᵢ among an update's sets."""
_KEPT = "control/"  # cᵢ stands in the task's state beside what else a client keeps there


class ControlVariate:
    """Where this client's own gradients lead (cᵢ), and where all clients' do (c), to take out the difference.

    Made before the first step from a model that holds the global weights x; `correct` in every step, `update` after the
    last, then `Update(net, …, sets=control.sets, state=control.state)`. cᵢ is `task.state`, so it moves only with an
    update that is committed: c stays the mean of all cᵢ, whatever is lost. Where no c comes (another aggregator), all
    of it does nothing, and both mappings are empty.
    """

    def __init__(self, model: object, task: Task[Any]) -> None:
        self.sets: Mapping[str, Arrays] = {}
        self.state: Arrays = {}
        self._c = task.sent.get(CONTROL, {})
        own = {name: task.state.get(_KEPT + name) for name in self._c}  # none until the first is committed
        self._own = {name: _wide(np.zeros_like(self._c[name]) if ci is None else ci) for name, ci in own.items()}
        self._x = {name: np.array(array) for name, array in self._arrays(model).items()}
        self._term = g.like({name: _wide(c) - self._own[name] for name, c in self._c.items()}, model) if self._c else {}

    def correct(self, model: object, gradients: dict[str, Any] | None = None) -> None:
        """Add c - cᵢ to each gradient, after `backward()` and before the step.

        `model` is a torch module, or a dict of arrays with `gradients` of the same names, changed in place.
        """
        if self._term:
            g.add(self._term, model, gradients)

    def update(self, model: object, *, steps: int, learning_rate: float) -> None:
        """Make `sets` and `state` of the trained model, after `steps` steps of plain SGD: cᵢ⁺ = cᵢ - c + (x - y)/(Kη).

        Only the product counts: with a rate that changes, `steps=1` and the sum of all rates.
        """
        if not steps * learning_rate > 0:
            raise ValueError(f"steps={steps}, learning_rate={learning_rate}: both are greater than 0 after training")
        y = self._arrays(model)
        moves = {name: self._move(name, y[name], steps * learning_rate) for name in self._c}
        # as the server adds it up: with a rounding of its own in cᵢ, c would part from the mean of all cᵢ
        self.state = {_KEPT + name: self._own[name] + move for name, move in moves.items()}
        self.sets = {CONTROL: moves} if moves else {}

    def _move(self, name: str, y: NDArray[Any], time: float) -> NDArray[Any]:
        """Δcᵢ = cᵢ⁺ - cᵢ, in the model's dtype."""
        gradient = (_float64(self._x[name]) - _float64(y)) / time
        return np.asarray(gradient - _float64(self._c[name]), self._c[name].dtype)

    def _arrays(self, model: object) -> Arrays:
        return adapter_of(model).dump(model) if self._c else {}


def _wide(array: NDArray[Any]) -> NDArray[Any]:
    """At least float32: the digits of a bfloat16 do not hold the sum of many rounds."""
    return array if array.dtype == np.float64 else array.astype(np.float32)


def _float64(array: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(array, np.float64)
