import sys
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression, SGDClassifier
from sklearn.neural_network import MLPClassifier

from fedk_client import ClientApp
from fedk_client.adapters import adapter_of, check_same
from fedk_client.errors import AppError
from fedk_protocol.rooms import LEAST

X, Y = np.eye(6), np.array([0, 1, 2] * 2)


def perceptron() -> MLPClassifier:
    return MLPClassifier([5], max_iter=1).partial_fit(X, Y, classes=[0, 1, 2])


def test_a_dict_gives_its_arrays_in_its_order() -> None:
    arrays = adapter_of({}).dump({"w": [[1.0, 2.0]], "b": np.float32(3)})
    assert list(arrays) == ["w", "b"]
    assert arrays["w"].shape == (1, 2)
    assert arrays["b"].dtype == np.float32


def test_a_loaded_dict_can_be_written_to_though_the_blob_cannot() -> None:
    blob = np.arange(3.0)
    blob.flags.writeable = False
    model = ClientApp(model=lambda: {"w": np.zeros(3)}).with_weights({"w": blob})
    model["w"] += 1
    assert model["w"].tolist() == [1.0, 2.0, 3.0]


def test_the_next_large_model_stands_where_the_last_one_stood_whatever_is_kept_of_it() -> None:
    size = LEAST // 4
    blob: dict[str, NDArray[Any]] = {
        "w": np.full(size, 1.5, np.float32),
        "v": np.zeros((size, 2), np.int16),
        "u": np.zeros((4, size), ml_dtypes.float8_e5m2),
        "b": np.ones((), ml_dtypes.bfloat16),
    }
    for array in blob.values():
        array.flags.writeable = False
    app = ClientApp(model=lambda: {name: np.zeros_like(array) for name, array in blob.items()})
    model = app.with_weights(blob)
    assert {name: (array.shape, array.dtype) for name, array in model.items()} == {
        name: (array.shape, array.dtype) for name, array in blob.items()
    }
    model["w"] += 1
    model["b"] += 1
    places = {model[name].ctypes.data for name in "wvu"}
    kept = model["b"]
    del model
    again = app.with_weights(blob)
    assert {again[name].ctypes.data for name in "wvu"} == places
    assert (float(kept), float(again["w"][0]), float(again["b"])) == (2.0, 1.5, 1.0)
    kept = again["w"]
    kept[:] = 7
    del again
    assert not np.shares_memory(app.with_weights(blob)["w"], kept)
    assert kept[-1] == 7


def test_a_perceptrons_lists_are_named_by_number() -> None:
    arrays = adapter_of(perceptron()).dump(perceptron())
    assert {name: array.shape for name, array in arrays.items()} == {
        "coefs_.0": (6, 5),
        "coefs_.1": (5, 3),
        "intercepts_.0": (5,),
        "intercepts_.1": (3,),
    }


def test_a_perceptron_with_anothers_weights_predicts_and_trains_as_it() -> None:
    one = perceptron()
    other = ClientApp(model=perceptron).with_weights(adapter_of(one).dump(one))
    assert np.array_equal(one.predict_proba(X), other.predict_proba(X))
    other.partial_fit(X, Y)
    assert not np.array_equal(one.coefs_[0], other.coefs_[0])


@pytest.mark.parametrize("classes", [[0, 1], [0, 1, 2]])
def test_a_linear_classifier_trains_on_from_the_weights_that_it_is_given(classes: list[int]) -> None:
    def model() -> SGDClassifier:
        return SGDClassifier(shuffle=False).partial_fit(X[:2], [0, 1], classes=classes)

    weights = {name: array + 1 for name, array in adapter_of(model()).dump(model()).items()}
    net = ClientApp(model=model).with_weights(weights)
    net.partial_fit(X, np.array([0, 1] * 3))
    assert np.abs(net.coef_ - weights["coef_"]).max() > 0
    assert np.abs(net.coef_).min() > 0.5  # it did not begin from zero


def test_a_bare_number_of_scikit_learn_is_a_scalar_and_comes_back() -> None:
    def model() -> LinearRegression:
        return LinearRegression().fit(X, np.arange(6.0))

    net = ClientApp(model=model).with_weights({"coef_": np.ones(6), "intercept_": np.array(7.0)})
    assert net.predict(np.zeros((1, 6))).tolist() == [7.0]


def test_an_estimator_that_was_never_fitted_says_what_to_do() -> None:
    with pytest.raises(AppError, match="has no coef_, intercept_, coefs_, intercepts_ yet: let model"):
        ClientApp(model=MLPClassifier).with_weights({})


def test_another_models_weights_are_named_where_they_differ() -> None:
    app = ClientApp(model=lambda: {"w": np.zeros((3, 2)), "b": np.zeros(3)})
    with pytest.raises(AppError, match=r"b is missing in the weights given, float64 \(3,\) in what model\(\) makes"):
        app.with_weights({"w": np.zeros((3, 2))})
    with pytest.raises(AppError, match=r"w is float32 \(3, 2\) in the weights given, float64 \(3, 2\)"):
        app.with_weights({"w": np.zeros((3, 2), np.float32), "b": np.zeros(3)})


def test_check_same_names_what_is_too_much() -> None:
    with pytest.raises(AppError, match="extra is float64"):
        check_same({"extra": np.zeros(1)}, {}, whose="one", others="other")


def test_any_other_type_is_told_of_dump_and_load() -> None:
    with pytest.raises(AppError, match=r"object is no model that fedk_client knows.*ClientApp\(dump=…, load=…\)"):
        adapter_of(object())


def test_dump_and_load_carry_a_model_of_any_type() -> None:
    class Own:
        weight = 1.0

    def load(model: Own, arrays: Any) -> None:
        model.weight = float(arrays["weight"])

    app = ClientApp(model=Own, dump=lambda model: {"weight": np.array(model.weight)}, load=load)
    assert app.with_weights({"weight": np.array(5.0)}).weight == 5.0
    assert app.with_weights({"weight": np.array(5.0), "own": np.zeros(3)}).weight == 5.0  # load decides what fits
    with pytest.raises(AppError, match="dump= and load= together"):
        ClientApp(model=Own, load=load)


class Tensor:
    """As much of a torch.Tensor as the adapter touches; the real one is met in examples/torch_digits."""

    def __init__(self, array: np.ndarray[Any, Any], dtype: str) -> None:
        self._array, self.dtype = array, f"torch.{dtype}"

    def detach(self) -> "Tensor":
        return self

    cpu = contiguous = detach

    def view(self, dtype: str) -> "Tensor":
        array = self._array.view(ml_dtypes.bfloat16 if dtype == "torch.bfloat16" else dtype)
        return Tensor(array, dtype.removeprefix("torch."))

    def numpy(self) -> np.ndarray[Any, Any]:
        if self._array.dtype == ml_dtypes.bfloat16:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self._array


class Module:
    """As much of a torch.nn.Module as the adapter touches."""

    __module__ = "torch.nn.modules.module"

    def __init__(self) -> None:
        self.tensors: dict[str, Any] = {
            "weight": Tensor(np.ones(2, np.float32), "float32"),
            "half": Tensor(np.ones(2, ml_dtypes.bfloat16), "bfloat16"),
            "_extra_state": {"not": "a tensor"},
        }

    def state_dict(self) -> dict[str, Any]:
        return dict(self.tensors)

    def load_state_dict(self, tensors: dict[str, Any]) -> None:
        assert tensors.keys() == self.tensors.keys()
        self.tensors = tensors


def test_a_torch_module_crosses_by_its_state_dict_bfloat16_included(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = ModuleType("torch")
    torch.__dict__.update(int16="int16", from_numpy=lambda array: Tensor(array, str(array.dtype)))
    monkeypatch.setitem(sys.modules, "torch", torch)
    arrays = adapter_of(Module()).dump(Module())
    assert {name: str(array.dtype) for name, array in arrays.items()} == {"weight": "float32", "half": "bfloat16"}
    net = ClientApp(model=Module).with_weights({name: array * 2 for name, array in arrays.items()})
    again = adapter_of(net).dump(net)
    assert {name: array.astype(float).tolist() for name, array in again.items()} == {"weight": [2, 2], "half": [2, 2]}
    assert net.tensors["_extra_state"] == {"not": "a tensor"}


class Variable:
    """As much of a keras.Variable as the adapter touches."""

    def __init__(self, name: str) -> None:
        self.name, self.value = name, np.zeros(2)

    def numpy(self) -> np.ndarray[Any, Any]:
        return self.value

    def assign(self, value: np.ndarray[Any, Any]) -> None:
        self.value = value


class Sequential:
    """As much of a Keras model as the adapter touches."""

    __module__ = "keras.src.models.sequential"
    made = 0

    def __init__(self) -> None:
        Sequential.made += 1
        self.weights = [Variable(f"dense_{Sequential.made}/kernel:0"), Variable("bias")]


def test_a_keras_models_names_do_not_count_the_models_made_so_far() -> None:
    arrays = adapter_of(Sequential()).dump(Sequential())
    assert list(arrays) == list(adapter_of(Sequential()).dump(Sequential())) == ["0.kernel", "1.bias"]
    net = ClientApp(model=Sequential).with_weights({name: array + 3 for name, array in arrays.items()})
    assert [variable.value.tolist() for variable in net.weights] == [[3, 3], [3, 3]]
