"""What a local step is made of: a model's weights and their gradients, by name.

Of a PyTorch module its parameters and their `.grad`, on their device; of plain loops the dict of weights and a dict of
gradients. Arithmetic on both reads alike, so what corrects gradients is written once.
"""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedk_client.adapters import Torch, adapter_of
from fedk_client.errors import AppError
from fedk_protocol.codec import Arrays


def weights(model: object) -> dict[str, Any]:
    """What is trained, as it stands: views, not copies, without PyTorch's record of operations."""
    if isinstance(model, Mapping):
        return {str(name): np.asarray(value) for name, value in model.items()}
    return {name: tensor.detach() for name, tensor in _parameters(model)}


def copies(model: object) -> dict[str, Any]:
    """The same, for keeping."""
    return {
        name: value.copy() if isinstance(value, np.ndarray) else value.clone() for name, value in weights(model).items()
    }


def like(arrays: Arrays, model: object) -> dict[str, Any]:
    """`arrays` (float32 or float64) of names that are trained, as the model holds its own: a module's on its device."""
    held = weights(model)
    return {name: _like(array, held[name]) for name, array in arrays.items() if name in held}


def add(terms: Mapping[str, Any], model: object, gradients: dict[str, Any] | None) -> None:
    """gradient += term, in place, for each name that has both. A module's gradients are its own: give None."""
    found = _gradients(model, gradients)
    for name in terms:
        if found.get(name) is not None:  # a frozen parameter has none
            found[name] += terms[name]


def _gradients(model: object, given: dict[str, Any] | None) -> dict[str, Any]:
    if isinstance(model, Mapping):
        if given is None:
            raise AppError("correct(model, gradients) wants the gradients beside a dict of arrays")
        return given
    return {name: parameter.grad for name, parameter in _parameters(model)}


def _parameters(model: Any) -> list[tuple[str, Any]]:
    if not isinstance(adapter_of(model), Torch):
        raise AppError(
            f"the gradients of a {type(model).__name__} are out of reach: take a torch.nn.Module, or a dict of arrays "
            "with a loop of your own"
        )
    return list(model.named_parameters())


def _like(array: NDArray[Any], held: Any) -> Any:
    if isinstance(held, np.ndarray):
        return array.astype(held.dtype)
    return sys.modules["torch"].from_numpy(array).to(held)
