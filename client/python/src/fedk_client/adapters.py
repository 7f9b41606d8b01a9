"""A framework's model ↔ named arrays. Chosen by the model's type, without importing a framework."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from fedk_client.errors import AppError
from fedk_protocol.codec import Arrays
from fedk_protocol.rooms import LEAST, ROOMS


class Adapter(Protocol):
    """One framework's way. `dump` may give views of the model; `load` copies into it, in place, device kept."""

    def fits(self, model: object) -> bool:
        """Whether this is such a model, by its type."""

    def dump(self, model: Any) -> dict[str, NDArray[Any]]:
        """Its weights under the framework's own names, in the framework's order."""

    def load(self, model: Any, arrays: Arrays) -> None:
        """Set its weights; names, shapes and dtypes are those that `dump` gives."""


def adapter_of(model: object) -> Adapter:
    """The adapter for this model's type."""
    for adapter in _ADAPTERS:
        if adapter.fits(model):
            return adapter
    raise AppError(
        f"{type(model).__name__} is no model that fedk_client knows: a dict of arrays, a torch.nn.Module, a "
        "scikit-learn estimator with coef_ or coefs_, a Keras model. For another one give "
        "ClientApp(dump=…, load=…): to and from a dict of arrays"
    )


def check_same(weights: Arrays, expected: Arrays, *, whose: str, others: str) -> None:
    """AppError naming the first difference in names, shapes or dtypes: "coefs_.0 is float32 (64, 10) in …"."""
    if weights.keys() == expected.keys() and all(_alike(weights[name], expected[name]) for name in expected):
        return
    for name in [*expected, *weights]:
        here, there = _text(weights, name), _text(expected, name)
        if here != there:
            raise AppError(f"{name} is {here} in {whose}, {there} in {others}")


def _alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype


def _text(arrays: Arrays, name: str) -> str:
    return f"{arrays[name].dtype} {arrays[name].shape}" if name in arrays else "missing"


class Dictionaries:
    """Plain numpy: a dict of arrays, or of what numpy makes arrays of."""

    def fits(self, model: object) -> bool:
        return isinstance(model, (dict, Mapping))  # a Mapping is looked for in Python, most are a dict

    def dump(self, model: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        return {str(name): np.asarray(value) for name, value in model.items()}

    def load(self, model: dict[str, Any], arrays: Arrays) -> None:
        model.update(_copies(arrays))  # the blob's are read-only


class Torch:
    """torch.nn.Module by its state_dict, buffers included."""

    def fits(self, model: object) -> bool:
        return _descends(model, "torch.nn.modules.module")

    def dump(self, model: Any) -> dict[str, NDArray[Any]]:
        return {name: self._to_numpy(tensor) for name, tensor in self._tensors(model)}

    def load(self, model: Any, arrays: Arrays) -> None:
        copies = _copies(arrays)  # torch warns about arrays that it may not write to
        tensors = {name: self._from_numpy(copies[name], tensor) for name, tensor in self._tensors(model)}
        model.load_state_dict({**model.state_dict(), **tensors})

    def _tensors(self, model: Any) -> Iterator[tuple[str, Any]]:
        # a state_dict may hold a module's extra state, which is no tensor and stays at home
        return ((name, value) for name, value in model.state_dict().items() if hasattr(value, "numpy"))

    def _to_numpy(self, tensor: Any) -> NDArray[Any]:
        tensor = tensor.detach().cpu().contiguous()
        narrow = _NARROW.get(str(tensor.dtype).removeprefix("torch."))
        if narrow is None:
            return np.asarray(tensor.numpy())
        bits, dtype = narrow
        return np.asarray(tensor.view(getattr(sys.modules["torch"], bits)).numpy()).view(dtype)

    def _from_numpy(self, array: NDArray[Any], like: Any) -> Any:
        torch: Any = sys.modules["torch"]
        narrow = _NARROW.get(str(like.dtype).removeprefix("torch."))
        if narrow is None:
            return torch.from_numpy(array)
        return torch.from_numpy(array.view(narrow[0])).view(like.dtype)


# torch's floats that numpy lacks: the integer that carries their bits across, and ml_dtypes' name for them
_NARROW: Mapping[str, tuple[str, "np.dtype[Any]"]] = {
    "bfloat16": ("int16", np.dtype(ml_dtypes.bfloat16)),
    "float8_e4m3fn": ("uint8", np.dtype(ml_dtypes.float8_e4m3fn)),
    "float8_e5m2": ("uint8", np.dtype(ml_dtypes.float8_e5m2)),
}


class ScikitLearn:
    """Fitted estimators by `coef_ intercept_ coefs_ intercepts_`; a list's arrays are named coefs_.0, coefs_.1."""

    _ATTRIBUTES = ("coef_", "intercept_", "coefs_", "intercepts_")

    def fits(self, model: object) -> bool:
        return _descends(model, "sklearn")

    def dump(self, model: Any) -> dict[str, NDArray[Any]]:
        arrays = {name: np.asarray(value) for name, value in self._values(model)}
        if not arrays:
            raise AppError(
                f"{type(model).__name__} has no {', '.join(self._ATTRIBUTES)} yet: let model() call partial_fit or "
                "fit once, or give ClientApp(dump=…, load=…)"
            )
        return arrays

    def load(self, model: Any, arrays: Arrays) -> None:
        for name, value in self._values(model):
            if isinstance(value, np.ndarray):
                value[...] = arrays[name]  # in place: estimators keep more references to their arrays
            else:
                setattr(model, name, arrays[name][()])  # LinearRegression's intercept_ is a bare number

    def _values(self, model: Any) -> Iterator[tuple[str, Any]]:
        for attribute in self._ATTRIBUTES:
            value = getattr(model, attribute, None)
            if isinstance(value, list):
                yield from ((f"{attribute}.{i}", array) for i, array in enumerate(value))
            elif value is not None:
                yield attribute, value


class Keras:
    """Keras models by `.weights`, numbered: their own names count the models made so far in a process."""

    def fits(self, model: object) -> bool:
        return _descends(model, "keras", "tf_keras", "tensorflow") and hasattr(model, "weights")

    def dump(self, model: Any) -> dict[str, NDArray[Any]]:
        return {name: np.asarray(variable.numpy()) for name, variable in self._variables(model)}

    def load(self, model: Any, arrays: Arrays) -> None:
        for name, variable in self._variables(model):
            variable.assign(np.array(arrays[name]))

    def _variables(self, model: Any) -> Iterator[tuple[str, Any]]:
        for number, variable in enumerate(model.weights):
            yield f"{number}.{variable.name.rsplit('/', 1)[-1].partition(':')[0]}", variable


def _copies(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Of each array one that may be written to."""
    return {name: np.array(array) if array.nbytes < LEAST else _placed(array) for name, array in arrays.items()}


def _placed(array: NDArray[Any]) -> NDArray[Any]:
    """A copy in a room of its own: user code that keeps it keeps no other array of its model."""
    copy = np.frombuffer(ROOMS.of("models", array.nbytes), np.uint8).view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _descends(model: object, *modules: str) -> bool:
    return any(
        kind.__module__ == module or kind.__module__.startswith(f"{module}.")
        for kind in type(model).__mro__
        for module in modules
    )


_ADAPTERS: tuple[Adapter, ...] = (Dictionaries(), Torch(), ScikitLearn(), Keras())
