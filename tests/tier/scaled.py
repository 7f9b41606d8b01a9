"""A client of float64 weights from 1e-12 to 1e4: a float64 sum of its updates shows in what order they were added.

CHAOS_WEIGHTS: how many.
"""

import os

import numpy as np
from numpy.typing import NDArray

from fedk_client import ClientApp, Task, Update

Weights = dict[str, NDArray[np.float64]]
SIZE = int(os.environ.get("CHAOS_WEIGHTS", "500"))


def model() -> Weights:
    return {"w": np.zeros(SIZE)}


app = ClientApp(model=model)


@app.train
def train(net: Weights, task: Task[None]) -> Update:
    draw = np.random.default_rng(task.seed)
    steps = draw.standard_normal(SIZE) * 10.0 ** draw.integers(-12, 5, SIZE)
    return Update({"w": net["w"] + steps}, num_examples=int(draw.integers(1, 100)))
