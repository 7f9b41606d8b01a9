"""Many clients in one process: `python crowd.py SERVER COUNT [STUCK]`. The last STUCK of them never answer by themselves.

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

server, count, *rest = sys.argv[1:]
stuck = {f"c{n:03}" for n in range(int(count) - (int(rest[0]) if rest else 0), int(count))}
over = threading.Event()
trained: Counter[tuple[str, str, int]] = Counter()  # client, session, round
counting = threading.Lock()
app = ClientApp(model=lambda: {"w": np.zeros(100, np.float32)})


@app.train
def train(net: Weights, task: Task[None]) -> Update:
    with counting:
        trained[task.client.name, task.session, task.round] += 1
    if task.client.name in stuck:
        over.wait()
    return Update({"w": net["w"] + np.float32(0.5)}, num_examples=10)


with ExitStack() as running:
    running.callback(over.set)
    for n in range(int(count)):
        running.enter_context(app.start(server, name=f"c{n:03}"))
    print("joined", flush=True)  # noqa: T201  # its word to the test
    for _ in sys.stdin:
        with counting:
            print(trained.total(), sum(times > 1 for times in trained.values()), flush=True)  # noqa: T201  # as above
