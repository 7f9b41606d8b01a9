"""Memory of large blobs and sums, from one round to the next."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from fedk_protocol.rooms import LEAST, REST, Resting, Rooms

Later = Callable[[float], Awaitable[None]]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    """`await later(5)`: five seconds have passed, and the loop's timers have seen it."""
    clock, passed = time.monotonic, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: clock() + passed)

    async def pass_(seconds: float) -> None:
        nonlocal passed
        passed += seconds
        for _ in range(3):  # one turn sees the time, the next one what the timers have made ready
            await asyncio.sleep(0)

    return pass_


def place(room: memoryview) -> int:
    return int(np.frombuffer(room, np.uint8).ctypes.data)


def test_the_next_blob_comes_where_the_last_one_was() -> None:
    rooms = Rooms()
    first = place(rooms.of("sums", LEAST))
    assert place(rooms.of("sums", LEAST)) == first
    assert len(rooms.of("sums", LEAST + 1)) == LEAST + 1


def test_what_somebody_still_looks_at_stays_as_it_is() -> None:
    rooms = Rooms()
    room = rooms.of("sums", LEAST)
    room[:] = b"a" * LEAST
    array = np.frombuffer(room.toreadonly(), np.uint8, 8, 16).view(np.float32)[1:]
    before = array.tobytes()
    del room
    rooms.of("sums", LEAST)[:] = b"b" * LEAST
    assert array.tobytes() == before == b"aaaa"


def test_two_at_a_time_have_a_room_each() -> None:
    rooms = Rooms()
    one, other = rooms.of("sums", LEAST), rooms.of("sums", LEAST)
    one[:], other[:] = b"1" * LEAST, b"2" * LEAST
    assert (one[0], other[0], rooms.nbytes) == (ord("1"), ord("2"), 2 * LEAST)


def test_small_ones_are_not_kept() -> None:
    rooms = Rooms()
    assert [len(rooms.of("sums", size)) for size in (0, 5, LEAST - 1)] == [0, 5, LEAST - 1]
    assert rooms.nbytes == 0


def test_all_that_one_round_had_waits_for_the_next_one() -> None:
    rooms, sizes = Rooms(), (LEAST, 2 * LEAST, LEAST)
    places = sorted(map(place, [rooms.of("sums", size) for size in sizes]))
    first = rooms.of("sums", LEAST)
    assert rooms.nbytes == 4 * LEAST, "the other two wait, of this size and of another"
    more = [rooms.of("sums", size) for size in sizes[1:]]
    assert sorted(map(place, [first, *more])) == places


def test_a_use_takes_no_room_of_another_one() -> None:
    rooms = Rooms()
    download, model = rooms.of("inputs", LEAST + 8), rooms.of("models", LEAST)
    del model
    places = place(download), place(rooms.of("results", LEAST + 8))
    del download
    assert rooms.nbytes == 3 * LEAST + 16
    assert (place(rooms.of("inputs", LEAST + 8)), place(rooms.of("results", LEAST + 8))) == places


def test_what_is_free_makes_room_for_another_size() -> None:
    rooms = Rooms()
    had = [rooms.of("sums", LEAST), rooms.of("sums", 2 * LEAST)]
    del had
    for size in range(3 * LEAST, 10 * LEAST, LEAST):  # results whose size is never the same
        rooms.of("sums", size)
        assert rooms.nbytes == size


async def test_what_nobody_has_used_between_two_looks_goes_back(later: Later) -> None:
    rooms = Rooms()
    lent = rooms.of("sums", LEAST)
    assert not rooms.trim()
    del lent
    for _ in range(3):
        assert rooms.trim(), "it is free, but not for long"
        await later(REST - 1)
        assert rooms.trim()
        rooms.of("sums", LEAST)
        await later(1)
    assert rooms.trim()
    await later(REST)
    assert not rooms.trim()
    assert rooms.nbytes == 0


async def test_who_comes_again_and_again_does_not_hold_up_what_rests(later: Later) -> None:
    rooms = Rooms()
    resting = Resting(rooms.trim)
    rooms.of("sums", LEAST)
    resting.begin()
    await later(REST / 2)
    assert rooms.nbytes == LEAST
    for _ in range(4):
        await later(REST / 2)
        resting.begin()
    assert rooms.nbytes == 0


async def test_memory_goes_back_when_nobody_comes_any_more(later: Later) -> None:
    rooms, looks = Rooms(), []

    def trim() -> bool:
        looks.append(rooms.nbytes)
        return rooms.trim()

    resting = Resting(trim, rooms.trim)
    resting.begin()
    rooms.of("sums", LEAST)
    for _ in range(10):
        await later(REST)
    assert looks == [LEAST, LEAST], "and nothing looks after that"
