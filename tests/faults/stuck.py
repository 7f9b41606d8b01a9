"""A client that is stuck in user code: it says "training ROUND" on its standard output, and goes on at a line of its input.

STUCK_ELEMENTS: of its model (100).
"""

import os
import sys

import numpy as np
from numpy.typing import NDArray

from fedk_client import ClientApp, Task, Update

Weights = dict[str, NDArray[np.float32]]

app = ClientApp(model=lambda: {"w": np.zeros(int(os.environ.get("STUCK_ELEMENTS", "100")), np.float32)})


@app.train
def train(net: Weights, task: Task[None]) -> Update:
    print("training", task.round, flush=True)  # noqa: T201  # its word to the test
    sys.stdin.readline()
    return Update({"w": net["w"] + np.float32(0.5)}, num_examples=10)
