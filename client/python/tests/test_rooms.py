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


def test_a_models_copies_share_a_room_and_may_be_written_to() -> None:
    rooms = Rooms()
    blob = {"w": np.full(LEAST, 1.5, np.float32), "b": np.ones((), np.float64), "none": np.empty((0, 3), np.int8)}
    blob["w"].flags.writeable = False
    first = rooms.copies(blob)
    first["w"][0] += 1
    assert (blob["w"][0], first["w"][0], first["w"][1], first["b"]) == (1.5, 2.5, 1.5, 1)
    assert {name: (array.shape, array.dtype) for name, array in first.items()} == {
        name: (array.shape, array.dtype) for name, array in blob.items()
    }
    kept = first["w"]
    del first
    second = rooms.copies(blob)
    assert kept[0] == 2.5
    assert not np.shares_memory(kept, second["w"])
    where = kept.ctypes.data
    del kept
    assert rooms.copies(blob)["w"].ctypes.data == where
