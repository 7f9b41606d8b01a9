import numpy as np
import pytest

from fedk.api.formulas import krum_scores


def squares(points: list[float]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    line = np.array(points)
    return np.asarray((line[:, None] - line[None]) ** 2)


def test_the_nearest_others_count_and_not_the_update_itself() -> None:
    """n = 5, f = 1: two neighbours."""
    assert krum_scores(squares([0.0, 1.0, 2.0, 3.0, 100.0]), 1).tolist() == [5.0, 2.0, 2.0, 5.0, 97**2 + 98**2]


@pytest.mark.parametrize("n", [2, 3, 4])
def test_one_neighbour_counts_at_least(n: int) -> None:
    assert krum_scores(squares([float(2**i) for i in range(n)]), 3).tolist()[:2] == [1.0, 1.0]


def test_equal_neighbourhoods_have_equal_scores_to_the_last_bit() -> None:
    draw = np.random.default_rng(0)
    values, distances = draw.random(49), np.zeros((50, 50))
    for i, row in enumerate(distances):
        row[np.arange(50) != i] = draw.permutation(values)
    assert len(set(krum_scores(distances, 3).tolist())) == 1


def test_what_is_infinitely_far_is_chosen_by_nobody() -> None:
    distances = squares([0.0, 1.0, 2.0, 3.0, 4.0])
    distances[4, :4] = distances[:4, 4] = np.inf
    scores = krum_scores(distances, 1)
    assert np.isinf(scores[4])
    assert np.isfinite(scores[:4]).all()


def test_the_distances_are_left_as_they_are() -> None:
    distances = squares([0.0, 1.0, 5.0])
    before = distances.copy()
    krum_scores(distances, 0)
    assert np.array_equal(distances, before)
