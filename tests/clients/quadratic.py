"""Clients whose losses are parabolas of unlike width and place, so that what they have in common is known exactly.

Client I's loss is ½Σa(w - t)², a and t drawn from its part; the optimum of all is Σat / Σa. It takes unlike numbers of
steps, and reports what any aggregator asks for. The setting `lost` (0 to 1) is the share of its results that never
count: it trains, and then says that it had no examples, which the server refuses.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedk_client import Client, ClientApp, Task, Update, Validation
from fedk_client.control import ControlVariate
from fedk_client.proximal import ProximalTerm
from fedk_client.steps import LocalSteps

RATE = 0.1
Vector = NDArray[np.float64]
Weights = dict[str, Vector]


class Parabola(NamedTuple):
    """Of one client."""

    a: Vector
    t: Vector

    def loss(self, w: Vector) -> float:
        return float(0.5 * np.sum(self.a * (w - self.t) ** 2))


def parabola(part: int) -> Parabola:
    draw = np.random.default_rng(part)
    return Parabola(draw.uniform(0.2, 2.0, 3), draw.standard_normal(3))


def optimum(parts: int) -> Vector:
    """Where the sum of all clients' losses is least."""
    all_ = [parabola(part) for part in range(parts)]
    return np.asarray(sum(one.a * one.t for one in all_) / sum(one.a for one in all_))


def model() -> Weights:
    return {"w": np.zeros(3)}


def data(me: Client) -> Parabola:
    return parabola(me.part)


app = ClientApp(model=model, data=data)


@app.train
def train(net: Weights, task: Task[Parabola]) -> Update:
    own, steps = task.data, task.setting("steps", 0) or 2 + task.client.part
    before, lost = own.loss(net["w"]), np.random.default_rng(task.seed).random() < task.setting("lost", 0.0)
    mu = task.setting("proximal_mu", 0.0)
    term, control, counted = ProximalTerm(net, mu), ControlVariate(net, task), LocalSteps(proximal=RATE * mu)
    for _ in range(steps):
        gradients = {"w": own.a * (net["w"] - own.t)}
        term.correct(net, gradients)
        control.correct(net, gradients)
        net["w"] -= RATE * gradients["w"]
        counted.add()
    control.update(net, steps=steps, learning_rate=RATE)
    return Update(
        net,
        num_examples=0 if lost else 10 * (1 + task.client.part),
        metrics={"loss": own.loss(net["w"]), "global_loss": before, "local_steps": counted.norm},
        sets=control.sets,
        state=control.state,
    )


@app.validate
def validate(net: Weights, task: Task[Parabola]) -> Validation:
    return Validation(num_examples=1, metrics={"loss": task.data.loss(net["w"])})
