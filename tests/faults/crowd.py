"""Many clients in one process, of a model with so many elements: `python crowd.py SERVER COUNT ELEMENTS`.

Says "joined" once all of them are. Says at each line of its standard input how many tasks it has trained, and how many of
them more than once; ends with it.
"""

import sys
import threading
from collections import Counter
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from fedk_client import ClientApp, Task, Update

Weights = dict[str, NDArray[np.float32]]

server, count, elements = sys.argv[1:]
trained: Counter[tuple[str, str, int]] = Counter()  # client, session, round
counting = threading.Lock()
app = ClientApp(model=lambda: {"w": np.zeros(int(elements), np.float32)})


@app.train
def train(net: Weights, task: Task[None]) -> Update:
    with counting:
        trained[task.client.name, task.session, task.round] += 1
    return Update({"w": net["w"] + np.float32(0.5)}, num_examples=10)


with ExitStack() as running:
    for n in range(int(count)):
        running.enter_context(app.start(server, name=f"c{n:03}"))
    print("joined", flush=True)  # noqa: T201  # its word to the test
    for _ in sys.stdin:
        with counting:
            print(trained.total(), sum(times > 1 for times in trained.values()), flush=True)  # noqa: T201  # as above
