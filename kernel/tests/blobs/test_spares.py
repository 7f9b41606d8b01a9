"""Files of results that are settled, and those that are written over them."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedk.api.errors import BlobError
from fedk.blobs import mark, start
from fedk.blobs.reader import Reader, Span
from fedk.blobs.spool import Spool
from fedk.blobs.upload import Upload
from fedk_protocol.rooms import LEAST, REST

SIZE = LEAST
OLD, NEW = b"\xaa" * SIZE, b"\x55" * SIZE


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool", 16 * SIZE)
    spool.recover([])
    yield spool
    spool.close()


def settled(spool: Spool, task: str = "t1", data: bytes = OLD) -> int:
    """A result that came, and whose verdict is given: the number of its file, which is a spare by now."""
    upload = spool.upload("s1", task, "r1", len(data))
    upload.write(data)
    asyncio.run(upload.sync())
    number = inode(upload)
    spool.forget(upload.span)
    spool.sweep()
    return number


def inode(upload: Upload) -> int:
    return Path(upload.span.path).stat().st_ino


def content(span: Span) -> bytes:
    with Reader(span) as reader:
        return reader.read(0, reader.size)


def left(spool: Spool) -> list[Path]:
    spool.sweep()
    return [path for path in spool.root.glob("*/**/*") if path.is_file()]


def test_the_next_result_of_the_same_size_is_written_over_one_that_is_settled(spool: Spool) -> None:
    number = settled(spool)
    upload = spool.upload("s1", "t2", "r1", SIZE)
    assert (inode(upload), upload.got) == (number, 0)
    upload.write(NEW)
    assert content(upload.span) == NEW


def test_one_of_another_size_and_a_small_one_have_files_of_their_own(spool: Spool) -> None:
    number = settled(spool)
    assert inode(spool.upload("s1", "t2", "r1", SIZE + 1)) != number
    settled(spool, "t3", b"small")
    assert spool.upload("s1", "t4", "r1", 5).got == 0
    assert len(left(spool)) == 3  # the two that have begun, and the spare


def test_how_far_it_has_come_is_known_to_the_next_process(spool: Spool) -> None:
    settled(spool)
    upload = spool.upload("s1", "t2", "r1", SIZE)
    upload.write(NEW[:1000])
    upload.write(NEW[:500])
    assert spool.got("s1", "t2", "r1", SIZE) == 1500
    after = Spool(spool.root, 16 * SIZE)
    after.recover([], open_tasks={"t2"})
    again = after.upload("s1", "t2", "r1", SIZE)
    assert (after.got("s1", "t2", "r1", SIZE), again.got) == (1500, 1500)
    again.write(NEW[1500:])
    assert content(again.span) == NEW
    after.close()


def test_after_a_start_of_the_system_a_mark_is_not_believed(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    settled(spool)
    spool.upload("s1", "t2", "r1", SIZE).write(NEW[:1000])
    monkeypatch.setattr(start, "ID", b"another")
    after = Spool(spool.root, 16 * SIZE)
    after.recover([], open_tasks={"t2"})
    assert after.got("s1", "t2", "r1", SIZE) == 0, "a client is told where to go on, and there is no such byte"
    again = after.upload("s1", "t2", "r1", SIZE)
    assert again.got == 0
    again.write(NEW)
    assert content(again.span) == NEW
    after.close()


def whole_after_a_start(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> tuple[Spool, Span]:
    """A result that was written over a settled one and that a row names, in the spool of the system's next start."""
    settled(spool)
    upload = spool.upload("s1", "t2", "r1", SIZE)
    upload.write(NEW)
    monkeypatch.setattr(start, "ID", b"another")
    after = Spool(spool.root, 16 * SIZE)
    after.recover([upload.span])
    return after, upload.span


def test_a_result_that_a_row_names_is_there_after_a_start_of_the_system(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    after, span = whole_after_a_start(spool, monkeypatch)
    assert after.used("default") == SIZE
    assert content(span) == NEW
    after.close()


@pytest.mark.parametrize("more", [1, mark.LENGTH, 100])
def test_a_size_that_changes_does_not_make_old_bytes_ones_of_the_upload(spool: Spool, more: int) -> None:
    settled(spool)
    spool.upload("s1", "t2", "r1", SIZE).write(NEW[:10])
    assert spool.got("s1", "t2", "r1", SIZE + more) == 0
    assert spool.upload("s1", "t2", "r1", SIZE + more).got == 0


def test_a_result_that_a_row_names_is_whole_for_who_sends_it_again_after_a_start_of_the_system(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    after, span = whole_after_a_start(spool, monkeypatch)
    assert after.got("s1", "t2", "r1", SIZE) == SIZE
    assert after.upload("s1", "t2", "r1", SIZE).got == SIZE
    assert content(span) == NEW
    after.close()


def test_a_spare_that_cannot_get_its_name_is_not_left_on_a_full_disk(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(spool)
    rename = Path.rename

    def full(path: Path, target: Path) -> Path:
        if target.suffix == mark.UPLOAD:
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(Exception, match="no space left"):
        spool.upload("s1", "t2", "r1", SIZE)
    assert left(spool) == []


def test_what_somebody_still_reads_is_not_written_over(spool: Spool) -> None:
    upload = spool.upload("s1", "t1", "r1", SIZE)
    upload.write(OLD)
    number = inode(upload)
    with Reader(upload.span) as reader:
        spool.forget(upload.span)
        spool.sweep()
        assert inode(spool.upload("s1", "t2", "r1", SIZE)) != number
        assert reader.read(0, SIZE) == OLD
    assert inode(spool.upload("s1", "t3", "r1", SIZE)) == number


def test_who_opens_a_file_just_as_it_is_given_away_is_refused(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = spool.upload("s1", "t1", "r1", SIZE)
    upload.write(OLD)
    reads = mark.reads

    def given_away(handle: int, path: str) -> None:
        spool.forget(upload.span)
        spool.sweep()
        spool.upload("s1", "t2", "r1", SIZE).write(NEW)
        reads(handle, path)

    monkeypatch.setattr(mark, "reads", given_away)
    with pytest.raises(BlobError, match="No such file"):
        Reader(upload.span)


def test_a_handle_of_before_writes_nothing_into_it(spool: Spool) -> None:
    old = spool.upload("s1", "t1", "r1", SIZE)
    old.write(OLD[:1000])
    spool.expire("t1")
    spool.sweep()
    new = spool.upload("s1", "t2", "r1", SIZE)
    new.write(NEW[:10])
    with pytest.raises(Exception, match="cancelled"):
        old.write(OLD[1000:])
    new.write(NEW[10:])
    assert content(new.span) == NEW


def test_spares_that_nobody_has_used_for_a_while_go(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    settled(spool)
    kept = spool._spares
    kept.trim()
    assert len(left(spool)) == 1
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + REST)
    kept.trim()
    assert left(spool) == []


def test_a_full_disk_gets_them_back_at_once(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    settled(spool)
    upload = spool.upload("s1", "t2", "r1", SIZE + 1)

    def full(_handle: int, _data: bytes, _position: int) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(Exception, match="no space left"):
            upload.write(NEW)
    assert [str(path) for path in left(spool)] == [upload.span.path]


def test_one_that_somebody_has_deleted_is_not_missed(spool: Spool) -> None:
    settled(spool)
    for path in left(spool):
        path.unlink()
    upload = spool.upload("s1", "t2", "r1", SIZE)
    upload.write(NEW)
    assert content(upload.span) == NEW


def test_none_is_left_when_the_spool_is_closed(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 16 * SIZE)
    settled(spool)
    spool.close()
    assert [path for path in spool.root.rglob("*") if path.is_file()] == []


@given(size=st.integers(0, 100), got=st.integers(0, 2**40))
def test_a_mark_says_what_was_put_whatever_stands_before_it(
    tmp_path_factory: pytest.TempPathFactory, size: int, got: int
) -> None:
    path = tmp_path_factory.mktemp("marks") / "file"
    path.write_bytes(os.urandom(size))
    with path.open("r+b", buffering=0) as file:
        assert mark.progress(file.fileno(), size) == (size, False)
        mark.put(file.fileno(), size, got)
        assert mark.progress(file.fileno(), size) == (got, True)
