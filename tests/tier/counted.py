"""A client that writes down, in its folder, each round that it has trained: `NAME.trained`, a line a round.

Where a FIFO `NAME.ROUND` stands, it trains until somebody opens that for writing.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedk_client import ClientApp, Task, Update

Weights = dict[str, NDArray[np.float32]]
GRID = 2**12

app = ClientApp(model=lambda: {"w": np.zeros(1_000, np.float32)})


@app.train
def train(net: Weights, task: Task[None]) -> Update:
    with Path(f"{task.client.name}.trained").open("a") as file:
        file.write(f"{task.round}\n")
    if (gate := Path(f"{task.client.name}.{task.round}")).exists():
        gate.open().close()
    draw = np.random.default_rng(task.seed)
    moved = net["w"] + draw.uniform(-0.5, 0.5, net["w"].shape).astype(np.float32)
    return Update({"w": np.round(moved * GRID) / np.float32(GRID)}, num_examples=int(draw.integers(1, 100)))
