"""A machine whose clock is wrong by CLOCK_SHIFT seconds, and by a day more or less after each SIGUSR1 or SIGUSR2.

Python imports this when it starts with this folder in PYTHONPATH. Monotonic clocks stay.
"""

import os
import signal
import time

DAY = 86_400.0

_real = time.time
_shift = [float(os.environ["CLOCK_SHIFT"])]


def _jump(number: int, _frame: object) -> None:
    _shift[0] += DAY if number == signal.SIGUSR1 else -DAY


time.time = lambda: _real() + _shift[0]
for _signal in (signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(_signal, _jump)
