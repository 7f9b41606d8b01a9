"""The hash of a blob that is made piece by piece, in memory that changes."""

from hashlib import sha256

import pytest

from fedk.blobs.hashing import PIECE, Behind


@pytest.mark.parametrize(
    "sizes", [[], [5], [PIECE], [PIECE - 1, 1, 1], [PIECE + 3, 7], [100_000] * 50, [3, 5 * PIECE + 1, 0, PIECE]]
)
def test_it_is_that_of_all_bytes_however_they_are_cut(sizes: list[int]) -> None:
    behind, whole = Behind(), sha256()
    room = bytearray(max(sizes, default=0))
    for number, size in enumerate(sizes):
        room[:size] = bytes([number + 1]) * size
        behind.update(memoryview(room)[:size])
        whole.update(room[:size])
        room[:size] = bytes(size)  # used for something else
    assert behind.digest() == whole.digest()
