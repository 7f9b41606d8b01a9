"""Order statistics: the network against numpy, and the principle that proves it."""

import itertools

import numpy as np
import pytest

from fedk.api.formulas import median, ranks, trimmed_mean
from fedk.api.formulas.sorting import NETWORK, mean_of_ranks, network


@pytest.mark.parametrize("k", range(1, 14))
def test_the_network_sorts_every_sequence_of_zeros_and_ones_and_so_everything(k: int) -> None:
    """Knuth's 0-1 principle."""
    columns = np.array(list(itertools.product((0.0, 1.0), repeat=k))).T.copy()
    for _, rows in ranks(columns, 0, k):
        assert np.all(np.diff(np.array(rows), axis=0) >= 0)


@pytest.mark.parametrize("k", [1, 2, 7, 10, NETWORK - 1, NETWORK, NETWORK + 1, 500])
@pytest.mark.parametrize("n", [1, 17, 5_000])
def test_ranks_are_those_of_a_sort_whatever_part_is_wanted(k: int, n: int) -> None:
    values = np.random.default_rng(k).standard_normal((k, n))
    wanted = np.sort(values, axis=0)
    for first, last in ((0, k), (k // 2, k // 2 + 1), (0, 1), (k - 1, k), (k // 3, k - k // 3)):
        seen = 0
        for place, rows in ranks(values.copy(), first, last):
            assert np.array_equal(np.array(rows), wanted[first:last, place])
            seen += place.stop - place.start
        assert seen == n


def test_the_values_may_be_part_of_a_wider_block() -> None:
    block = np.random.default_rng(0).standard_normal((9, 40))
    for wide in (block[:, 5:22], np.asfortranarray(block)):
        assert np.array_equal(median(wide.copy(order="K")), np.median(wide, axis=0))


def test_comparators_that_reach_no_wanted_rank_are_left_out() -> None:
    """Of ten rows: 31 for all ranks, fewer for the median's two, nine for the least."""
    assert len(network(10, 0, 10)) == 31
    assert len(network(10, 4, 6)) < 31
    assert len(network(10, 0, 1)) == 9
    assert network(1, 0, 1) == ()


def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two() -> None:
    assert median(np.array([[4.0], [1.0], [900.0], [2.0]])).tolist() == [3.0]


def test_equal_values_stay_what_they_are() -> None:
    """A third of three times a tenth is not a tenth."""
    for k in (2, 3, 40):
        assert median(np.full((k, 3), 0.1)).tolist() == [0.1] * 3


def test_the_trimmed_mean_leaves_out_both_ends() -> None:
    values = np.array([[-900.0], [1.0], [2.0], [6.0], [50.0]])
    assert trimmed_mean(values.copy(), 1).tolist() == [3.0]
    assert trimmed_mean(values.copy(), 2).tolist() == [2.0]
    assert mean_of_ranks(values.copy(), 0, 2).tolist() == [-449.5]
    with pytest.raises(ValueError, match="3 of 5 values cannot be trimmed at each end"):
        trimmed_mean(values, 3)
