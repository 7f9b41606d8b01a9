"""Memory of large blobs, from one round to the next."""

import numpy as np

from fedk_client.rooms import LEAST, Rooms


def place(room: memoryview) -> int:
    return int(np.frombuffer(room, np.uint8).ctypes.data)


def test_the_next_blob_comes_where_the_last_one_was() -> None:
    rooms = Rooms()
    first = place(rooms.of(LEAST))
    assert place(rooms.of(LEAST)) == first
    assert len(rooms.of(LEAST + 1)) == LEAST + 1


def test_what_user_code_still_looks_at_stays_as_it_is() -> None:
    rooms = Rooms()
    room = rooms.of(LEAST)
    room[:] = b"a" * LEAST
    array = np.frombuffer(room.toreadonly(), np.uint8, 8, 16).view(np.float32)[1:]
    before = array.tobytes()
    del room
    rooms.of(LEAST)[:] = b"b" * LEAST
    assert array.tobytes() == before == b"aaaa"


def test_two_results_that_wait_have_a_room_each() -> None:
    rooms = Rooms()
    one, other = rooms.of(LEAST), rooms.of(LEAST)
    one[:], other[:] = b"1" * LEAST, b"2" * LEAST
    assert (one[0], other[0]) == (ord("1"), ord("2"))


def test_small_ones_are_not_kept() -> None:
    assert len(Rooms().of(5)) == 5
