"""As seeded.py, with numbers off any grid and of all sizes: in every sum of them the order of arrival is seen."""

import os

import numpy as np
from numpy.typing import NDArray

from fedk_client import ClientApp, Task, Update

Weights = dict[str, NDArray[np.float64]]

app = ClientApp(model=lambda: {"w": np.zeros(int(os.environ.get("CHAOS_WEIGHTS", "1000")))})


@app.train
def train(net: Weights, task: Task[None]) -> Update:
    draw = np.random.default_rng(task.seed)
    size = 10.0 ** draw.uniform(-6, 3, net["w"].shape)
    moved = draw.uniform(-1, 1, net["w"].shape) * size
    return Update({"w": net["w"] + moved}, num_examples=int(draw.integers(1, 100)))
