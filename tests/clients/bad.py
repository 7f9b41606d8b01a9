"""Clients of which the first misbehaves as the option `fault` says, in every round; the others are good.

`fault` is one of raises, nan, shapes, names, dtype, zero-examples, hang.
"""

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedk_client import Client, ClientApp, Task, Update, Validation

Weights = dict[str, NDArray[np.float32]]


def model() -> Weights:
    return {"weights": np.zeros((4, 3), np.float32), "bias": np.zeros(3, np.float32)}


def data(me: Client) -> str:
    """The fault that is this client's; "" for none."""
    return me.options.get("fault", "") if me.part == 0 else ""


def wrong_number(net: Weights) -> object:
    net["weights"][1, 2] = np.nan
    return net


def wrong_shape(net: Weights) -> object:
    return {**net, "bias": np.zeros(4, np.float32)}


def wrong_name(net: Weights) -> object:
    return {"weights": net["weights"], "offset": net["bias"]}


def wrong_type(net: Weights) -> object:
    return {**net, "bias": net["bias"].astype(np.float64)}


def raising(net: Weights) -> object:
    raise ValueError(f"cannot train on {sorted(net)}")


def hanging(net: Weights) -> object:
    threading.Event().wait()  # nobody sets it: the task ends with the process
    return net


FAULTS: dict[str, Callable[[Weights], object]] = {
    "raises": raising,
    "nan": wrong_number,
    "shapes": wrong_shape,
    "names": wrong_name,
    "dtype": wrong_type,
    "hang": hanging,
}

app = ClientApp(model=model, data=data)


@app.train
def train(net: Weights, task: Task[str]) -> Update:
    net = {name: tensor + np.float32(1 + task.client.part) for name, tensor in net.items()}
    fault = FAULTS.get(task.data)
    return Update(
        fault(net) if fault else net,
        num_examples=0 if task.data == "zero-examples" else 10,
        metrics={"loss": 1 / task.round},
    )


@app.validate
def validate(net: Weights, task: Task[str]) -> Validation:
    return Validation(num_examples=10, metrics={"bias": float(net["bias"].mean()) / task.round})
