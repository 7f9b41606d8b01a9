"""What a large file leaves to its sync."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedk.blobs import disk
from fedk.blobs.spool import Spool

PIECE = 2**20


@given(st.lists(st.integers(0, 3 * disk.AHEAD), max_size=20))
def test_the_disk_begins_with_every_byte_once_and_in_large_pieces(sizes: list[int]) -> None:
    begun: list[tuple[int, int]] = []
    ahead, end = disk.Ahead(), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "_sync_file_range", lambda _handle, at, count, _flags: begun.append((at, count)))
        for size in sizes:
            ahead.written(os.devnull, end := end + size)
    assert all(count >= disk.AHEAD for _, count in begun)
    assert [at for at, _ in begun] == [sum(count for _, count in begun[:n]) for n in range(len(begun))]
    assert end - sum(count for _, count in begun) < disk.AHEAD


@pytest.mark.parametrize("system", ["as it is", "without"])
def test_bytes_are_what_was_written_whether_or_not_the_system_can_begin(
    system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if system == "without":
        monkeypatch.setattr(disk, "_sync_file_range", None)
    upload = Spool(tmp_path, limit=4 * disk.AHEAD).upload("s1", "t1", "r1", 2 * disk.AHEAD)
    for n in range(2 * disk.AHEAD // PIECE):
        upload.write(bytes([n]) * PIECE)
    upload.close()
    assert Path(upload.span.path).read_bytes() == b"".join(bytes([n]) * PIECE for n in range(2 * disk.AHEAD // PIECE))
