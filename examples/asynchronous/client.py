"""Handwritten digits on machines of unlike speed: the slowest takes ten times as long as the fastest.

    fedk run examples/asynchronous/client.py:app --clients 10 --rounds 20

Speed is the subject, and all clients of `fedk run` share one machine: so training also waits, for the setting `seconds` (0.1)
times the client's slowness. This stands for computation. Slowness is the option `slowness`; without it the clients of a
federation spread evenly, by ratio, from 1 for the first to 10 for the last.
"""

import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from fedk_client import Client, ClientApp, Task, Update, Validation

SPREAD = 10.0
"""How many times as long as the fastest the slowest takes."""
TESTED = 360
"""A fifth of the images, which no client trains on."""


class Digits(NamedTuple):
    """Some of the images."""

    x: NDArray[np.float64]  # [n, 64], 0 … 1
    y: NDArray[np.int64]  # [n]


class Own(NamedTuple):
    """What a client has: images of its own, and those that all measure models on."""

    train: Digits
    test: Digits


def digits() -> Own:
    """All images, the same ones to train and to test on each time."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return Own(*(Digits(x[rows] / 16, y[rows]) for rows in (order[TESTED:], order[:TESTED])))


def model() -> MLPClassifier:
    """Its weights are the initial model."""
    net = MLPClassifier([50], solver="sgd", learning_rate_init=0.1, momentum=0.0, batch_size=16, random_state=1)
    net.partial_fit(np.zeros((20, 64)), [*range(10)] * 2, classes=range(10))
    return net.set_params(random_state=None)  # from here on the task's seed


def data(me: Client) -> Own:
    """Every client an equal share of all digits: what the slow ones know, the others know too."""
    (x, y), test = digits()
    return Own(Digits(x[me.part :: me.parts], y[me.part :: me.parts]), test)


def slowness(me: Client) -> float:
    """How many times as long as the fastest it takes."""
    return float(me.options.get("slowness", SPREAD ** (me.part / max(1, me.parts - 1))))


app = ClientApp(model=model, data=data)


@app.train
def train(net: MLPClassifier, task: Task[Own]) -> Update:
    x, y = task.data.train
    net.partial_fit(x, y)
    threading.Event().wait(task.setting("seconds", 0.1) * slowness(task.client))
    return Update(net, num_examples=len(y), metrics={"loss": net.loss_})


@app.validate
def validate(net: MLPClassifier, task: Task[Own]) -> Validation:
    x, y = task.data.test
    return Validation(num_examples=len(y), metrics={"accuracy": net.score(x, y)})
