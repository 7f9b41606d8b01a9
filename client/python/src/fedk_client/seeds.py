"""The process's random generators: set from a task's seed around user code, and put back after it."""

import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np

_turn = threading.Lock()  # the generators are the process's: clients in one notebook take turns


@contextmanager
def seeded(seed: int, *, alone: bool = False) -> Iterator[Callable[[], None]]:
    """`random`, numpy's and (where user code has imported it) torch's global generators give the seed's numbers.

    What it gives begins them anew. They are put back afterwards, unless the process does nothing else.
    """
    with _turn, nullcontext() if alone else restored():
        _begin(seed)
        yield lambda: _begin(seed)


@contextmanager
def restored() -> Iterator[None]:
    """They go on afterwards as if nothing had been drawn."""
    with ExitStack() as restoring:
        for restore in _states():
            restoring.callback(restore)
        yield


def _begin(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)  # all that the legacy generator takes
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed % 2**63)  # every device's


def _states() -> Iterator[Callable[[], Any]]:
    python, legacy = random.getstate(), np.random.get_state(legacy=False)
    yield lambda: random.setstate(python)
    yield lambda: np.random.set_state(legacy)
    if torch := sys.modules.get("torch"):
        state = torch.random.get_rng_state()
        yield lambda: torch.random.set_rng_state(state)
        if torch.cuda.is_initialized():  # asking a device that is not in use would wake it
            devices = torch.cuda.get_rng_state_all()
            yield lambda: torch.cuda.set_rng_state_all(devices)
