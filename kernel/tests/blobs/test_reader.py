import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedk.api.errors import BlobError
from fedk.blobs.reader import Reader, Span


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "segment"
    path.write_bytes(bytes(range(100)))
    return path


def test_positions_count_from_the_spans_start(file: Path) -> None:
    with Reader(Span(str(file), 10, 20)) as reader:
        assert reader.size == 20
        assert reader.read(0, 3) == bytes([10, 11, 12])
        assert reader.read(17, 3) == bytes([27, 28, 29])


def test_bytes_land_in_the_callers_array_of_any_dtype(file: Path) -> None:
    array = np.zeros((2, 2), "<u2")
    with Reader(Span(str(file), 0, 100)) as reader:
        reader.read_into(2, array.data)
    assert array.tobytes() == bytes(range(2, 10))


def test_asking_beyond_the_span_is_a_mistake_of_the_caller(file: Path) -> None:
    with Reader(Span(str(file), 0, 20)) as reader, pytest.raises(ValueError, match="beyond the span's 20"):
        reader.read(15, 6)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BlobError, match=r"nowhere: No such file"):
        Reader(Span(str(tmp_path / "nowhere"), 0, 1))


def test_a_file_that_was_too_short_is_refused_at_once(file: Path) -> None:
    with pytest.raises(BlobError, match=r"segment ends before byte 101"):
        Reader(Span(str(file), 1, 100))


def test_a_file_cut_while_open_is_an_error_and_no_signal(file: Path) -> None:
    with Reader(Span(str(file), 0, 100)) as reader:
        os.truncate(file, 50)
        assert reader.read(0, 50) == bytes(range(50))
        with pytest.raises(BlobError, match="truncated"):
            reader.read(40, 20)


@pytest.mark.parametrize("call", ["pread", "preadv"])
def test_one_that_is_closed_while_it_reads_gives_its_own_bytes_and_not_those_of_the_next_file_that_is_opened(
    file: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    (other := file.with_name("other")).write_bytes(bytes(100))
    reader, real, opened = Reader(Span(str(file), 0, 100)), getattr(os, call), ExitStack()

    def overtaken(handle: int, *where: Any) -> Any:
        reader.close()
        opened.enter_context(other.open("rb"))
        return real(handle, *where)

    monkeypatch.setattr(os, call, overtaken)
    with opened:
        if call == "pread":
            assert reader.read(1, 2) == bytes([1, 2])
        else:
            reader.read_into(1, memoryview(got := bytearray(2)))
            assert got == bytes([1, 2])
    monkeypatch.undo()
    with pytest.raises(ValueError, match="closed"):
        reader.read(0, 1)


def test_what_was_read_by_several_is_closed_with_the_last_of_them(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, real = Reader(Span(str(file), 0, 100)), os.pread

    def beside(handle: int, n: int, at: int) -> bytes:
        monkeypatch.setattr(os, "pread", real)
        assert reader.read(5, 1) == bytes([5])
        reader.close()
        os.fstat(handle)
        return real(handle, n, at)

    monkeypatch.setattr(os, "pread", beside)
    with reader._handle() as handle:
        pass
    assert reader.read(7, 1) == bytes([7])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)
