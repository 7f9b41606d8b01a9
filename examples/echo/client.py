"""Gives back the model that it got: what a round costs where training costs nothing.

ECHO_WEIGHTS=25000000 makes the model 100 MB, and ECHO_MOVE=1 adds so much to its first number: a model that stays the
same is downloaded once. They are variables because `model` knows no client and no options.
"""

import os
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fedk_client import ClientApp, Task, Update

Weights = dict[str, NDArray[np.float32]]


@cache  # the same dict again: its weights are replaced before each task
def model() -> Weights:
    size = int(os.environ.get("ECHO_WEIGHTS", "10000"))  # 40 kB
    return {"weights": np.full(size, 0.5, np.float32)}


app = ClientApp(model=model)


@app.train
def train(net: Weights, _task: Task[None]) -> Update:
    net["weights"][0] += float(os.environ.get("ECHO_MOVE", "0"))
    return Update(net, num_examples=1)
