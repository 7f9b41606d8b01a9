"""`python -m tests.simulation.soak SECONDS`: other schedules than the tests', from a seed that is drawn."""

import random
import sys
import time
import warnings
from collections.abc import Callable

from sqlalchemy.exc import SAWarning
from tests.simulation.plans import chaos, equal, play
from tests.simulation.schedule import Schedule

MACHINE = 50
"""Schedules of the machine alone for each of whole servers."""


def main(seconds: float) -> int:
    warnings.simplefilter("ignore", SAWarning)  # a server that is killed closes nothing
    seed = first = random.randrange(10**6, 10**9)
    start, failed = time.monotonic(), 0
    while time.monotonic() < start + seconds:
        seed += 1
        for one in range(seed * MACHINE, (seed + 1) * MACHINE):
            failed += _fails(f"Schedule({one}).play()", Schedule(one).play)
        failed += _fails(f"play({seed}, chaos({seed}))", lambda: play(seed, chaos(seed)))  # noqa: B023  # called now
        failed += _fails(f"equal({seed})", lambda: _equal(seed))  # noqa: B023  # as above
    count, took = seed - first, time.monotonic() - start
    print(  # noqa: T201  # its result
        f"{count * MACHINE} schedules of the machine, {count * 3} of whole servers in {took:.0f} s, {failed} failed"
    )
    return bool(failed)


def _equal(seed: int) -> None:
    wanted = play(seed, equal(seed, disturbed=False)).digests
    assert play(seed, equal(seed, disturbed=True)).digests == wanted, "other digests than undisturbed"


def _fails(name: str, one: Callable[[], object]) -> bool:
    """Whatever a schedule finds is told, and the next one played."""
    try:
        one()
    except Exception as error:  # noqa: BLE001  # as said above
        print(f"{name}: {error!r}", flush=True)  # noqa: T201  # its result
        return True
    return False


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
