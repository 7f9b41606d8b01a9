import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedk.aggregation.numbers import BLOCK, summed
from fedk.aggregation.squares import LANES, Squares


def streamed(values: np.ndarray, cuts: list[int]) -> float:
    squares, ends = Squares(), [*sorted(cuts), values.size]
    for begin, end in zip([0, *ends], ends, strict=False):
        squares.add(values[begin:end].copy())
    return squares.total()


@given(st.integers(1, 5 * LANES), st.lists(st.integers(0, 5 * LANES), max_size=8), st.integers(0, 1000))
@settings(max_examples=100, deadline=None)
def test_where_a_stream_is_cut_is_not_seen_in_a_bit(size: int, cuts: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(size) * 10.0 ** (seed % 19 - 9)
    assert streamed(values, [min(cut, size) for cut in cuts]) == streamed(values, [])


def test_numpys_own_sum_of_squares_shows_the_cut() -> None:
    """So the test above can fail."""
    values = np.random.default_rng(0).standard_normal(5 * LANES)
    parts = {sum(float(np.einsum("i,i->", part, part)) for part in np.split(values, [cut])) for cut in range(1, 50)}
    assert len(parts) > 1


def test_it_is_the_sum_of_exact_arithmetic_to_float64_rounding() -> None:
    values = np.random.default_rng(1).standard_normal(BLOCK)
    assert streamed(values, [7]) == pytest.approx(float(sum(Fraction(x) ** 2 for x in values.tolist())), rel=1e-15)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([], 0.0),
        ([0.1] * 10, 1.0),
        ([1e308, 1e308, -1e308, 0.5], 1e308),
        ([1e308, 1e308], math.inf),
        ([-1e308, -1e308], -math.inf),
        ([math.inf, 1e308, 1e308], math.inf),
    ],
)
def test_sums_are_rounded_once_and_infinite_beyond_float64(values: list[float], wanted: float) -> None:
    assert summed(values) == summed(reversed(values)) == wanted


def test_squares_beyond_float64_are_infinite() -> None:
    assert streamed(np.full(3, 1e200), []) == math.inf
    assert streamed(np.full(LANES + 1, 1.3e154), [5]) == math.inf
