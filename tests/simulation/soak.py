"""`python -m tests.simulation.soak SECONDS`: other schedules than the tests', from a seed that is told."""

import random
import sys
import time

from tests.simulation.plans import chaos, equal, play
from tests.simulation.schedule import Schedule


def main(seconds: float) -> int:
    seed = first = random.randrange(10**6, 10**9)
    end, failed = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        seed += 1
        try:
            for one in range(50):
                Schedule(seed * 50 + one).play()
            play(seed, chaos(seed))
            wanted = play(seed, equal(seed, disturbed=False)).digests
            assert play(seed, equal(seed, disturbed=True)).digests == wanted, "other digests than undisturbed"
        except Exception as error:  # noqa: BLE001  # whatever a schedule finds is told, and the next one played
            failed += 1
            print(f"seed {seed}: {type(error).__name__} {error}", flush=True)  # noqa: T201  # its result
    count = seed - first
    print(f"{count * 50} schedules of the machine, {count * 3} of whole servers, {failed} failed")  # noqa: T201  # its result
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
