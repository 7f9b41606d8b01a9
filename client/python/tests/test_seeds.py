import random
import threading
from contextlib import suppress

import numpy as np

from fedk_client.seeds import restored, seeded


def draw() -> tuple[float, float]:
    return random.random(), float(np.random.rand())


def test_the_same_seed_draws_the_same_numbers_from_python_and_numpy() -> None:
    with seeded(2**64 - 1):
        first = draw()
    with seeded(2**64 - 1):
        assert draw() == first
    with seeded(7):
        assert draw() != first


def test_a_notebooks_own_generators_go_on_as_if_nothing_had_been_drawn() -> None:
    random.seed(1)
    np.random.seed(1)
    expected = [draw(), draw()]
    random.seed(1)
    np.random.seed(1)
    found = [draw()]
    with seeded(5):
        draw()
    assert [*found, draw()] == expected


def test_a_process_that_does_nothing_else_has_them_restored_at_its_end() -> None:
    state = random.getstate()
    with restored():
        with seeded(5, alone=True):
            drawn = draw()
        with seeded(5, alone=True):
            assert draw() == drawn
    assert random.getstate() == state


def test_they_are_restored_after_an_exception() -> None:
    state = random.getstate()
    with suppress(ZeroDivisionError), seeded(5):
        random.random()
        assert 1 / 0
    assert random.getstate() == state


def test_clients_of_one_process_take_turns() -> None:
    found = []

    def client() -> None:
        with seeded(3):
            found.append(tuple(draw() for _ in range(1000)))

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
