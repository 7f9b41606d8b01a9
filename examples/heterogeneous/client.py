"""Handwritten digits where each client knows two of them: what pulls federated training apart.

    fedk run examples/heterogeneous/client.py:app --clients 10 --rounds 60

A perceptron in plain numpy, whose loop serves FedAvg and every aggregator that asks more of its clients: FedProx's term,
SCAFFOLD's control variates, FedNova's steps, q-FedAvg's loss.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from fedk_client import Client, ClientApp, Task, Update, Validation
from fedk_client.control import ControlVariate
from fedk_client.proximal import ProximalTerm
from fedk_client.steps import LocalSteps

HIDDEN, BATCH = 50, 20

Weights = dict[str, NDArray[np.float64]]


class Digits(NamedTuple):
    """Some of the images."""

    x: NDArray[np.float64]  # [n, 64], 0 … 1
    y: NDArray[np.int64]  # [n]

    def rows(self, rows: "NDArray[np.intp] | slice") -> "Digits":
        return Digits(self.x[rows], self.y[rows])


class Own(NamedTuple):
    """A client's images: it trains on four of five, and measures models on the rest."""

    train: Digits
    validate: Digits


def digits() -> Digits:
    """All images, shuffled."""
    x, y = load_digits(return_X_y=True)
    return Digits(x / 16, y).rows(np.random.default_rng(0).permutation(len(x)))


def deal(y: NDArray[np.int64], part: int, parts: int) -> NDArray[np.intp]:
    """Rows of one part: digits `part` and `part + 1`. Of each digit the one that has it first gets three of four."""
    rows: list[NDArray[np.intp]] = []
    for digit in range(10):
        holders = [p for p in range(parts) if digit in (p % 10, (p + 1) % 10)]
        if part in holders:
            shares = np.where([digit == p % 10 for p in holders], 3.0, 1.0)
            ends = np.round(np.cumsum(shares) / shares.sum() * np.sum(y == digit)).astype(int)
            rows.append(np.split(np.flatnonzero(y == digit), ends[:-1])[holders.index(part)])
    return np.concatenate(rows)


# ---- the perceptron ----


def model() -> Weights:
    draw = np.random.default_rng(1)
    return {
        "w1": draw.normal(0, 64**-0.5, (64, HIDDEN)),
        "b1": np.zeros(HIDDEN),
        "w2": draw.normal(0, HIDDEN**-0.5, (HIDDEN, 10)),
        "b2": np.zeros(10),
    }


def loss(net: Weights, images: Digits) -> tuple[float, Weights]:
    """Mean cross entropy, and its gradients."""
    hidden, shares = forward(net, images.x)
    rows = np.arange(len(images.y))
    value = -np.log(np.maximum(shares[rows, images.y], 1e-12)).mean()
    shares[rows, images.y] -= 1
    out = shares / len(rows)
    back = (out @ net["w2"].T) * (hidden > 0)
    return float(value), {
        "w1": images.x.T @ back,
        "b1": back.sum(0),
        "w2": hidden.T @ out,
        "b2": out.sum(0),
    }


def forward(net: Weights, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Hidden layer and the digits' shares."""
    hidden = np.maximum(x @ net["w1"] + net["b1"], 0)
    raw = np.exp((z := hidden @ net["w2"] + net["b2"]) - z.max(1, keepdims=True))
    return hidden, raw / raw.sum(1, keepdims=True)


def right(net: Weights, images: Digits) -> NDArray[np.bool_]:
    """Which images it names rightly."""
    return np.asarray(forward(net, images.x)[1].argmax(1) == images.y)


# ---- the client ----


def data(me: Client) -> Own:
    images = digits()
    mine = images.rows(np.random.default_rng(me.part).permutation(deal(images.y, me.part, me.parts)))
    fifth = len(mine.y) // 5
    return Own(train=mine.rows(slice(fifth, None)), validate=mine.rows(slice(fifth)))


app = ClientApp(model=model, data=data)


@app.train
def train(net: Weights, task: Task[Own]) -> Update:
    images, draw = task.data.train, np.random.default_rng(task.seed)
    rate, mu = task.setting("lr", 0.1), task.setting("proximal_mu", 0.0)
    before, _ = loss(net, images)
    term, control, steps = ProximalTerm(net, mu), ControlVariate(net, task), LocalSteps(proximal=rate * mu)
    for _ in range(1 + task.client.part % task.setting("epochs", 5)):  # machines of unlike speed
        for rows in np.array_split(draw.permutation(len(images.y)), -(-len(images.y) // BATCH)):
            _, gradients = loss(net, images.rows(rows))
            term.correct(net, gradients)
            control.correct(net, gradients)
            for name, gradient in gradients.items():
                net[name] -= rate * gradient
            steps.add()
    control.update(net, steps=round(steps.norm), learning_rate=rate)
    after, _ = loss(net, images)
    return Update(
        net,
        num_examples=len(images.y),
        metrics={"loss": after, "global_loss": before, "local_steps": steps.norm},
        sets=control.sets,
        state=control.state,
    )


@app.validate
def validate(net: Weights, task: Task[Own]) -> Validation:
    images = task.data.validate
    return Validation(num_examples=len(images.y), metrics={"accuracy": float(right(net, images).mean())})
