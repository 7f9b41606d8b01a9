from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedk.aggregation.noise import normal
from fedk.aggregation.numbers import to_booleans, to_integers
from fedk_protocol.codec import DTYPES

INTEGERS = [dtype for dtype in DTYPES.values() if dtype.kind in "iu"]


def ends(dtype: Any, *values: int) -> Any:
    return np.array(values, dtype)


@pytest.mark.parametrize(("mean", "whole"), [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (2.4999, 2)])
def test_integers_are_rounded_half_to_even(mean: float, whole: int) -> None:
    assert to_integers(np.array([mean]), ends(np.int32, -10), ends(np.int32, 10)) == [whole]


@given(st.sampled_from(INTEGERS), st.data())
def test_integers_are_those_of_exact_arithmetic_within_their_range(dtype: Any, data: st.DataObject) -> None:
    limits = np.iinfo(dtype)
    whole = st.integers(int(limits.min), int(limits.max))
    low, high = sorted(data.draw(st.tuples(whole, whole)))
    mean = data.draw(st.floats(-(2.0**70), 2.0**70))
    got = to_integers(np.array([mean]), ends(dtype, low), ends(dtype, high))
    assert got.dtype == dtype
    assert int(got[0]) == min(max(round(Fraction(mean)), low), high)


@pytest.mark.parametrize("value", [2**63 - 1, 2**62 + 1, -(2**63), -(2**53) - 1])
def test_an_integer_that_all_agree_on_is_exact_where_float64_is_not(value: int) -> None:
    agreed = ends(np.int64, value)
    assert to_integers(np.array([float(value)]), agreed, agreed) == agreed


def test_booleans_go_by_majority_and_a_tie_is_the_bases() -> None:
    mean = np.array([0.49, 0.51, 0.5, 0.5])
    assert to_booleans(mean, np.array([True, False, True, False])).tolist() == [False, True, True, False]


def test_noise_has_the_moments_of_the_normal_distribution() -> None:
    """200,000 draws: each bound is five of its own standard deviations."""
    draws = normal(200_000)
    assert abs(draws.mean()) < 5 / 200_000**0.5
    assert abs((draws**2).mean() - 1) < 5 * (2 / 200_000) ** 0.5
    assert abs((draws**4).mean() - 3) < 5 * (96 / 200_000) ** 0.5
    assert [normal(n).shape for n in (0, 1, 7)] == [(0,), (1,), (7,)]
    assert normal(3).tolist() != normal(3).tolist()
