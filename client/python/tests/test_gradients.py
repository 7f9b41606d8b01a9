"""Corrections of a PyTorch module's own gradients."""

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedk_client import Task
from fedk_client.control import ControlVariate
from fedk_client.proximal import ProximalTerm


class Tensor(np.ndarray[Any, Any]):
    """As much of a torch.Tensor as corrections touch; the real one is met in examples/torch_digits."""

    grad: "Tensor | None" = None
    device = "cpu"

    def detach(self) -> "Tensor":
        return self.view(Tensor)

    cpu = contiguous = detach

    def clone(self) -> "Tensor":
        return self.copy().view(Tensor)

    def to(self, like: "Tensor") -> "Tensor":
        return self.astype(like.dtype).view(Tensor)

    def numpy(self) -> NDArray[Any]:
        return self.view(np.ndarray)


class Module:
    """Two parameters, of which one has no gradient, and a buffer."""

    __module__ = "torch.nn.modules.module"

    def __init__(self, w: float = 0.0) -> None:
        self.w, self.frozen = np.full(2, w, np.float32).view(Tensor), np.ones(1, np.float32).view(Tensor)
        self.buffer = np.ones(1, np.float32).view(Tensor)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        yield from (("w", self.w), ("frozen", self.frozen))

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self.named_parameters()) | {"buffer": self.buffer}


def torch() -> ModuleType:
    """For sys.modules."""
    module = ModuleType("torch")
    module.__dict__.update(from_numpy=lambda array: array.view(Tensor))
    return module


def trained(w: float, gradient: float) -> Module:
    net = Module(w)
    net.w.grad = np.full(2, gradient, np.float32).view(Tensor)
    return net


def test_a_proximal_term_is_added_to_what_backward_left_and_frozen_parameters_have_none() -> None:
    net = trained(1.0, 10.0)
    term = ProximalTerm(net, 0.5)
    net.w += 4
    term.correct(net)
    assert net.w.grad is not None
    assert net.w.grad.tolist() == [12.0, 12.0]
    assert net.frozen.grad is None


def test_control_variates_are_added_in_the_parameters_own_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch())
    c = {name: np.full(size, 0.5, np.float32) for name, size in (("w", 2), ("frozen", 1))}
    own = {"control/w": np.array([0.25, 1.5], np.float32)}
    net = trained(1.0, 10.0)
    control = ControlVariate(net, Task(None, sent={"control": c}, state=own))
    control.correct(net)
    assert net.w.grad is not None
    assert (net.w.grad.tolist(), net.w.grad.dtype) == ([10.25, 9.0], np.float32)
    net.w -= 2
    control.update(net, steps=4, learning_rate=0.5)
    assert control.sets["control"]["w"].tolist() == [0.5, 0.5]  # 2/(4·½) - ½
    assert control.state["control/w"].tolist() == [0.75, 2.0]
