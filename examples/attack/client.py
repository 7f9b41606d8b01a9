"""Handwritten digits, of which some clients send lies: what they learned, turned around and scaled up.

    fedk run examples/attack/client.py:app --clients 12 --rounds 30 --set liars=2

Clients hold like data, so that what is far from the others is a lie. With `liars = 0` all are honest.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from fedk_client import Client, ClientApp, Task, Update, Validation


class Digits(NamedTuple):
    """Some of the images."""

    x: NDArray[np.float64]  # [n, 64], 0 … 1
    y: NDArray[np.int64]  # [n]


class Own(NamedTuple):
    """A client's images: it trains on four of five, and measures models on the rest."""

    train: Digits
    validate: Digits


def model() -> MLPClassifier:
    """Its weights are the initial model."""
    net = MLPClassifier([50], solver="sgd", learning_rate_init=0.1, momentum=0.0, batch_size=16, random_state=1)
    net.partial_fit(np.zeros((20, 64)), [*range(10)] * 2, classes=range(10))
    return net.set_params(random_state=None)  # from here on the task's seed


def data(me: Client) -> Own:
    """Every client an equal share of all digits."""
    x, y = load_digits(return_X_y=True)
    mine = np.random.default_rng(0).permutation(len(x))[me.part :: me.parts]
    fifth = len(mine) // 5
    return Own(*(Digits(x[rows] / 16, y[rows]) for rows in (mine[fifth:], mine[:fifth])))


app = ClientApp(model=model, data=data)


@app.train
def train(net: MLPClassifier, task: Task[Own]) -> Update:
    x, y = task.data.train
    before = [weights.copy() for weights in (*net.coefs_, *net.intercepts_)]
    for _ in range(task.setting("epochs", 1)):
        net.partial_fit(x, y)
    if task.client.part < task.setting("liars", 0):
        lie(net, before, task.setting("scale", 10.0))
    return Update(net, num_examples=len(y), metrics={"loss": net.loss_})


def lie(net: MLPClassifier, before: list[NDArray[np.float64]], scale: float) -> None:
    """Go back from where training began, `scale` times as far as it went."""
    for weights, old in zip((*net.coefs_, *net.intercepts_), before, strict=True):
        weights[...] = old - scale * (weights - old)


@app.validate
def validate(net: MLPClassifier, task: Task[Own]) -> Validation:
    x, y = task.data.validate
    return Validation(num_examples=len(y), metrics={"accuracy": net.score(x, y)})
