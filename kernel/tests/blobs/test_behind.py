"""The hash of a blob that is made piece by piece, in memory that changes, and what is written of it."""

from hashlib import sha256

import pytest

from fedk.blobs.behind import PIECE, Behind

CUTS = [[], [5], [PIECE], [PIECE - 1, 1, 1], [PIECE + 3, 7], [100_000] * 50, [3, 5 * PIECE + 1, 0, PIECE]]


@pytest.mark.parametrize("sizes", CUTS)
def test_all_bytes_are_hashed_and_written_in_order_however_they_are_cut(sizes: list[int]) -> None:
    written, whole = bytearray(), bytearray()
    behind = Behind(written.extend)
    room = bytearray(max(sizes, default=0))
    for number, size in enumerate(sizes):
        room[:size] = bytes([number + 1]) * size
        behind.update(memoryview(room)[:size])
        whole += room[:size]
        room[:size] = bytes(size)  # used for something else
    assert behind.digest() == sha256(whole).digest()
    assert written == whole


def full(_data: memoryview) -> None:
    raise OSError("full")


@pytest.mark.parametrize("size", [1, 4 * PIECE])
def test_what_goes_wrong_with_writing_is_raised_at_the_latest_with_the_hash(size: int) -> None:
    behind = Behind(full)
    with pytest.raises(OSError, match="full"):  # noqa: PT012 — by which of the two depends on the size
        behind.update(memoryview(bytes(size)))
        behind.digest()


def test_one_that_is_given_up_leaves_nothing_under_way() -> None:
    written = bytearray()

    def half(data: memoryview) -> None:
        if len(written) >= PIECE:
            raise OSError("full")
        written.extend(data)

    behind = Behind(half)
    behind.update(memoryview(bytes(PIECE)))
    behind.update(memoryview(bytes(PIECE)))  # is handed over, and fails there
    behind.end()
    assert len(written) == PIECE
