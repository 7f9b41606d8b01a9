"""A client whose every answer follows from its task's seed and model: trained twice, it is the same to the bit.

Weights stay on a grid, so that sums of them in float64 are exact and the order of arrival is not seen.
CHAOS_WEIGHTS: how many; from 16,384 on they travel as uploads.
"""

import os

import numpy as np
from numpy.typing import NDArray

from fedk_client import ClientApp, Task, Update

Weights = dict[str, NDArray[np.float32]]
GRID = 2**12


def model() -> Weights:
    return {"w": np.zeros(int(os.environ.get("CHAOS_WEIGHTS", "1000")), np.float32)}


app = ClientApp(model=model)


@app.train
def train(net: Weights, task: Task[None]) -> Update:
    draw = np.random.default_rng(task.seed)
    moved = net["w"] + draw.uniform(-0.5, 0.5, net["w"].shape).astype(np.float32)
    return Update({"w": np.round(moved * GRID) / np.float32(GRID)}, num_examples=int(draw.integers(1, 100)))
