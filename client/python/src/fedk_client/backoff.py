"""The wait before another try: full jitter, so that the clients of a server that comes back do not come at once."""

import asyncio
from secrets import SystemRandom

_random = SystemRandom()  # the global generator is user code's, and the same on clients with the same seed


def draw(delays: tuple[float, float]) -> float:
    """Seconds, evenly between base and cap."""
    return _random.uniform(*delays)


async def pause(seconds: float) -> None:
    """Wait; a stop cancels the waiting task."""
    await asyncio.sleep(seconds)  # the back-off itself: nothing tells when a server is reachable again
