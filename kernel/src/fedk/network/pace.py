"""The pace at which a client may chatter: beyond it live curves and log lines are dropped."""

import time


class Pace:
    """`burst` at once, and `rate` a second in the long run."""

    def __init__(self, *, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._at = float(burst), time.monotonic()

    def allows(self) -> bool:
        """Whether one more is within it."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
