"""Blocks of a large tensor in two threads."""

import threading
from typing import Any

import numpy as np
import pytest

from fedk.aggregation import halves
from fedk.aggregation.halves import LEAST, in_halves
from fedk.testing.aggregation import Answer, Workshop, built


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halves, "_CPUS", 2)


@pytest.mark.parametrize("count", [0, 1, LEAST - 1, LEAST, LEAST + 1, 1000])
def test_every_block_is_worked_on_once(count: int) -> None:
    seen: list[int] = []
    in_halves(range(0, 10 * count, 10), seen.extend)
    assert sorted(seen) == [*range(0, 10 * count, 10)]


def test_both_halves_are_under_way_at_once() -> None:
    together = threading.Barrier(2)

    def meet(_: range) -> None:
        together.wait(60)

    in_halves(range(LEAST), meet)


def test_few_blocks_and_one_processor_need_no_second_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[int] = set()
    in_halves(range(LEAST - 1), lambda _: threads.add(threading.get_ident()))
    monkeypatch.setattr(halves, "_CPUS", 1)
    in_halves(range(1000), lambda _: threads.add(threading.get_ident()))
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("failing", [0, LEAST // 2])
def test_what_either_half_raises_is_raised_once_both_are_done(failing: int) -> None:
    done: list[int] = []

    def work(starts: range) -> None:
        if failing in starts:
            raise ValueError("damaged")
        done.extend(starts)

    with pytest.raises(ValueError, match="damaged"):
        in_halves(range(LEAST), work)
    assert len(done) == LEAST // 2


def test_numpys_settings_of_the_caller_are_those_of_both() -> None:
    found: list[str] = []
    with np.errstate(over="ignore"):
        in_halves(range(LEAST), lambda _: found.append(np.geterr()["over"]))
    assert found == ["ignore", "ignore"]


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_fold_in_halves_is_to_the_bit_the_one_in_a_single_thread(
    monkeypatch: pytest.MonkeyPatch, *, deterministic: bool
) -> None:
    draw, size = np.random.default_rng(3), 40 * LEAST
    exponents = draw.integers(-45, 15, size)  # of several digits, in either half
    base: dict[str, Any] = {"w": np.zeros(size, np.float32), "n": np.zeros(size, np.int64)}
    answers = [
        Answer(
            {"w": np.ldexp(draw.standard_normal(size), exponents).astype(np.float32), "n": draw.integers(-9, 9, size)},
            num_examples=n,
        )
        for n in (3, 1, 7)
    ]
    said = []
    for processors in (1, 2):
        monkeypatch.setattr(halves, "_CPUS", processors)
        with Workshop(built("fedavg"), base) as workshop:
            said.append(workshop.round(answers, block=8, deterministic=deterministic)[0])
    for name in base:
        assert said[0][name].tobytes() == said[1][name].tobytes()
