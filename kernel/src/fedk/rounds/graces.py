"""Graces: who is away has so long to come back before it counts as lost."""

import asyncio
from collections.abc import Callable


class Graces:
    """One timer for each; `over` is called with who did not come back within `seconds`."""

    def __init__(self, seconds: float, over: Callable[[str], None]) -> None:
        self._seconds, self._over = seconds, over
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._timers)

    def __contains__(self, who: str) -> bool:
        return who in self._timers

    def wait(self, who: str) -> None:
        """It has just gone."""
        self.forget(who)
        self._timers[who] = asyncio.get_running_loop().call_later(self._seconds, self._ended, who)

    def forget(self, who: str) -> None:
        """It is back, or lost."""
        if (timer := self._timers.pop(who, None)) is not None:
            timer.cancel()

    def _ended(self, who: str) -> None:
        self._timers.pop(who, None)
        self._over(who)

    def close(self) -> None:
        """Cancel every timer."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
