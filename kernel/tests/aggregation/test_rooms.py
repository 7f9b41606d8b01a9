"""The memory of sums."""

from fedk.aggregation.rooms import LEAST, Rooms
from fedk.aggregation.scratch import page


def test_a_round_gets_the_memory_of_the_last_one() -> None:
    rooms = Rooms()
    first = rooms.of(LEAST)
    place = first.ctypes.data
    del first
    assert rooms.of(LEAST).ctypes.data == place


def test_memory_that_somebody_has_a_view_of_is_nobody_elses() -> None:
    rooms = Rooms()
    view = rooms.of(LEAST)[5:][:7]
    view[:] = 3.0
    rooms.of(LEAST)[:] = 0.0
    assert view.tolist() == [3.0] * 7


def test_two_at_a_time_have_two() -> None:
    rooms = Rooms()
    one, other = rooms.of(LEAST), rooms.of(LEAST)
    one[:], other[:] = 1.0, 2.0
    assert (one[0], other[0], rooms.nbytes) == (1.0, 2.0, 16 * LEAST)


def test_what_is_free_makes_room_for_another_size_and_is_given_back_when_asked() -> None:
    rooms = Rooms()
    rooms.of(LEAST)
    assert rooms.nbytes == 8 * LEAST
    large = rooms.of(2 * LEAST)
    assert rooms.nbytes == 16 * LEAST
    rooms.clear()
    assert rooms.nbytes == 16 * LEAST
    del large
    rooms.clear()
    assert rooms.nbytes == 0


def test_small_sums_are_not_kept() -> None:
    rooms = Rooms()
    rooms.of(LEAST - 1)
    assert rooms.nbytes == 0


def test_files_are_read_into_whole_pages() -> None:
    assert [(page(size).ctypes.data % 4096, page(size).size) for size in (1, 5_000)] == [(0, 1), (0, 5_000)]
