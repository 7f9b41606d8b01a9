"""Handwritten digits, unevenly spread over the clients: scikit-learn's 1,797 images and its perceptron.

    fedk run examples/digits/client.py:app --clients 5 --rounds 20

The option `split_seed` (1) deals the images anew.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from fedk_client import Client, ClientApp, Task, Update, Validation

DIRICHLET = 0.3
"""Of each digit's shares: the smaller it is, the less clients have in common. At 0.3 most lack some digits."""
TESTED = 360
"""A fifth of the images, which no client holds."""


class Digits(NamedTuple):
    """Some of the images."""

    x: NDArray[np.float32]  # [n, 64], 0 … 4
    y: NDArray[np.int64]  # [n]

    def rows(self, rows: NDArray[np.intp]) -> "Digits":
        return Digits(self.x[rows], self.y[rows])


class Own(NamedTuple):
    """A client's images: it measures models on a twentieth of them, and trains on the rest."""

    train: Digits
    validate: Digits


def digits() -> tuple[Digits, Digits]:
    """All images: the clients', and the test's, which are drawn first and always the same."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    images = Digits((x / 4).astype(np.float32), y)
    return images.rows(order[TESTED:]), images.rows(order[:TESTED])


def deal(y: NDArray[np.int64], parts: int, seed: int) -> list[NDArray[np.intp]]:
    """Rows of each part. Drawn again where a part would have less than a fifth of an equal share."""
    draws = np.random.default_rng(seed)
    while True:
        shares = draws.dirichlet([DIRICHLET] * parts, size=10)
        dealt = [_cut(draws.permutation(np.flatnonzero(y == digit)), shares[digit]) for digit in range(10)]
        rows = [np.concatenate([cut[part] for cut in dealt]) for part in range(parts)]
        if min(map(len, rows)) >= len(y) // parts // 5:
            return rows


def _cut(rows: NDArray[np.intp], shares: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    return np.split(rows, np.round(np.cumsum(shares)[:-1] * len(rows)).astype(int))


def model() -> MLPClassifier:
    """Its weights are the initial model."""
    net = MLPClassifier([200], solver="sgd", learning_rate_init=0.1, momentum=0.0)
    return net.partial_fit(np.zeros((20, 64), np.float32), [*range(10)] * 2, classes=range(10))


def data(me: Client) -> Own:
    """What stays in this process."""
    images, _ = digits()
    mine = deal(images.y, me.parts, int(me.options.get("split_seed", "1")))[me.part]
    mine = np.random.default_rng(me.part).permutation(mine)
    held_back = len(mine) // 20
    return Own(train=images.rows(mine[held_back:]), validate=images.rows(mine[:held_back]))


app = ClientApp(model=model, data=data)


@app.train
def train(net: MLPClassifier, task: Task[Own]) -> Update:
    x, y = task.data.train
    # larger batches, so fewer steps, in later rounds: models that started alike drift apart less
    net.set_params(batch_size=min(len(x), 4 + 2 * task.round))
    for _ in range(task.setting("epochs", 2)):
        net.partial_fit(x, y)
    return Update(net, num_examples=len(x), metrics={"loss": net.loss_})


@app.validate
def validate(net: MLPClassifier, task: Task[Own]) -> Validation:
    x, y = task.data.validate
    return Validation(num_examples=len(x), metrics={"accuracy": net.score(x, y)})
