"""The clock of a session: at most one deadline runs at a time, on the loop's monotonic time."""

import asyncio
from collections.abc import Callable

from fedk.rounds.states import Token


class Clock:
    """Arms and disarms a deadline; what is left when it is disarmed is left when the same one is armed again."""

    def __init__(self, fire: Callable[[Token], None]) -> None:
        self._fire = fire
        self._token: Token | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._left = 0.0

    def keep(self, token: Token, seconds: float) -> None:
        """After a restart: what is left of `token`'s deadline."""
        self._token, self._left = token, seconds

    def arm(self, token: Token, seconds: float) -> None:
        self.stop()
        left = self._left if token == self._token else seconds
        self._token, self._left = token, left
        self._handle = asyncio.get_running_loop().call_later(left, self._ring, token)

    def disarm(self, token: Token) -> None:
        if token == self._token:
            self.stop()

    def stop(self) -> None:
        """Stop the clock and keep what is left."""
        if self._handle is not None:
            self._left = self.left
            self._handle.cancel()
            self._handle = None

    @property
    def running(self) -> bool:
        return self._handle is not None

    @property
    def left(self) -> float:
        """Seconds until the deadline; 0 when there is none."""
        if self._handle is None:
            return self._left
        return max(0.0, self._handle.when() - asyncio.get_running_loop().time())

    def _ring(self, token: Token) -> None:
        self._handle, self._left = None, 0.0
        self._fire(token)
