"""Gives back the model that it got: what a round costs where training costs nothing.

ECHO_WEIGHTS=25000000 makes the model 100 MB; it is a variable because `model` knows no client and no options.
"""

import os

import numpy as np
from numpy.typing import NDArray

from fedk_client import ClientApp, Task, Update

Weights = dict[str, NDArray[np.float32]]


def model() -> Weights:
    size = int(os.environ.get("ECHO_WEIGHTS", "10000"))  # 40 kB
    return {"weights": np.full(size, 0.5, np.float32)}


app = ClientApp(model=model)


@app.train
def train(net: Weights, _task: Task[None]) -> Update:
    return Update(net, num_examples=1)
