import asyncio
import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fedk.api.errors import Refused, StateError
from fedk.blobs import start
from fedk.blobs.reader import Reader, Span
from fedk.blobs.spool import START, Spool

KIB = 1024


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "spool"


@pytest.fixture
def spool(root: Path) -> Iterator[Spool]:
    spool = Spool(root, limit=100 * KIB)
    yield spool
    spool.close()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The kernel fails writes beyond `size` bytes of a file, after a part of them."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def read(span: Span) -> bytes:
    with Reader(span) as reader:
        return reader.read(0, span.size)


def length(span: Span) -> int:
    """Of its file."""
    return Path(span.path).stat().st_size


def remove(span: Span) -> None:
    Path(span.path).unlink()


def make_unreadable(span: Span) -> None:
    """Opening it fails, for root too: too many levels of symbolic links."""
    remove(span)
    Path(span.path).symlink_to(span.path)


def half(root: Path, task: str = "t1", data: bytes = b"abc") -> Span:
    """What an upload of 6 bytes leaves behind whose process ends after some of them."""
    spool = Spool(root, 100 * KIB)
    spool.recover([])
    upload = spool.upload("s1", task, "r1", 6)
    upload.write(data)
    spool.close()
    return upload.span


def files(root: Path, spool: Spool | None = None) -> list[str]:
    if spool is not None:
        spool.sweep()
    # what is in the trash has no name any more, and a worker is deleting it
    return sorted(str(path.relative_to(root)) for path in root.glob("[!.]*/**/*") if path.is_file())


class TestSegments:
    async def test_small_results_of_one_round_share_a_segment(self, spool: Spool, root: Path) -> None:
        first, second = spool.append("s1", 4, b"abc"), spool.append("s1", 4, b"defg")
        for _ in range(2):  # from memory, then from the file
            assert read(first) == b"abc"
            assert read(second) == b"defg"
            assert read(second.part(1, 2)) == b"ef"
            await spool.sync()
        assert files(root, spool) == ["default/s1/4-0.segment"]
        assert (first.memory, second.memory) == (None, None)

    async def test_what_is_forgotten_before_a_sync_needs_no_file(self, spool: Spool, root: Path) -> None:
        first, second = spool.append("s1", 1, b"abc"), spool.append("s1", 1, b"def")
        spool.forget(first)
        spool.forget(second)
        await spool.sync()
        assert files(root, spool) == []
        assert spool.used("default") == 0

    async def test_each_round_session_and_project_has_its_own(self, spool: Spool, root: Path) -> None:
        for session, number, project in (("s1", 1, "a"), ("s1", 2, "a"), ("s2", 1, "b")):
            spool.append(session, number, b"x", project=project)
        await spool.sync()
        assert files(root, spool) == ["a/s1/1-0.segment", "a/s1/2-1.segment", "b/s2/1-2.segment"]

    def test_a_view_of_any_dtype_is_taken_as_its_bytes(self, spool: Spool) -> None:
        assert read(spool.append("s1", 1, memoryview(b"abcdefgh").cast("I"))) == b"abcdefgh"

    async def test_a_write_that_fails_half_way_is_made_good_by_the_next(self, spool: Spool) -> None:
        first = spool.append("s1", 1, b"a" * 10)
        await spool.sync()
        second = spool.append("s1", 1, b"b" * 10)
        with largest_file(15), pytest.raises(StateError, match=r"1-0.segment cannot be written: File too large"):
            await spool.sync()
        third = spool.append("s1", 1, b"c" * 3)
        await spool.sync()
        assert (first.memory, second.memory, third.memory) == (None, None, None)
        assert (read(first), read(second), read(third)) == (b"a" * 10, b"b" * 10, b"c" * 3)
        assert spool.used("default") == 23

    async def test_a_segment_goes_with_its_last_result(self, spool: Spool, root: Path) -> None:
        first, second = spool.append("s1", 1, b"abc"), spool.append("s1", 1, b"def")
        await spool.sync()
        spool.forget(first)
        assert read(second) == b"def"
        spool.forget(first)
        assert files(root, spool)
        spool.forget(second)
        assert files(root, spool) == []
        assert spool.used("default") == 0

    def test_a_round_goes_on_after_all_its_results_were_forgotten(self, spool: Spool) -> None:
        spool.forget(spool.append("s1", 1, b"abc"))
        assert read(spool.append("s1", 1, b"def")) == b"def"

    async def test_drop_takes_earlier_rounds_or_the_whole_session(self, spool: Spool, root: Path) -> None:
        for number in (1, 2, 3):
            spool.append("s1", number, b"abc")
        spool.append("s2", 1, b"abc")
        await spool.sync()
        spool.drop("s1", rounds_before=3)
        assert files(root, spool) == ["default/s1/3-2.segment", "default/s2/1-3.segment"]
        spool.drop("s1")
        assert files(root, spool) == ["default/s2/1-3.segment"]
        assert spool.used("default") == 3


class TestLimit:
    def test_a_project_beyond_its_limit_is_refused_and_another_is_not(self, spool: Spool) -> None:
        spool.append("s1", 1, bytes(60 * KIB))
        with pytest.raises(
            Refused, match=r"61,440 bytes of project .* 51,200 more are beyond limits.spool_bytes = 102,400"
        ) as caught:
            spool.append("s1", 1, bytes(50 * KIB))
        assert caught.value.reason == "spool-full"
        assert spool.full("default") == caught.value.detail
        spool.append("s2", 1, bytes(50 * KIB), project="other")
        assert (bool(spool.full("default")), spool.full("other")) == (True, "")
        spool.append("s1", 1, bytes(10 * KIB))
        assert not spool.full("default")

    def test_an_upload_reserves_its_announced_size_at_once(self, spool: Spool) -> None:
        upload = spool.upload("s1", "t1", "r1", 90 * KIB)
        with pytest.raises(Refused, match="spool-full"):
            spool.append("s1", 1, bytes(20 * KIB))
        upload.discard()
        spool.append("s1", 1, bytes(20 * KIB))
        assert spool.used("default") == 20 * KIB


class TestUploads:
    def test_the_same_upload_goes_on_where_it_stopped(self, spool: Spool) -> None:
        upload = spool.upload("s1", "t1", "r1", 6)
        upload.write(b"abc")
        upload.close()
        assert (spool.got("s1", "t1", "r1", 6), spool.got("s1", "t1", "r2", 6)) == (3, 0)
        again = spool.upload("s1", "t1", "r1", 6)
        assert again.got == 3
        again.write(b"def")
        assert read(again.span) == b"abcdef"
        assert spool.used("default") == 6

    def test_another_result_of_the_task_starts_at_zero(self, spool: Spool) -> None:
        spool.upload("s1", "t1", "r1", 6).write(b"abc")
        assert spool.upload("s1", "t1", "r2", 6).got == 0

    def test_a_result_id_from_a_client_cannot_leave_the_directory(self, spool: Spool, root: Path) -> None:
        upload = spool.upload("s1", "t1", "../../../../evil", 3)
        upload.write(b"abc")
        assert Path(upload.span.path).parent == root / "default" / "s1"

    def test_opening_it_again_closes_the_older_handle(self, spool: Spool) -> None:
        old = spool.upload("s1", "t1", "r1", 6)
        new = spool.upload("s1", "t1", "r1", 6)
        with pytest.raises(Refused, match="opened again on another connection"):
            old.write(b"xyz")
        assert new.got == 0

    def test_more_bytes_than_announced_are_refused(self, spool: Spool) -> None:
        upload = spool.upload("s1", "t1", "r1", 4)
        upload.write(b"abc")
        with pytest.raises(Refused, match="too-large: more bytes than the 4 that were announced"):
            upload.write(b"de")
        assert upload.got == 3

    def test_another_size_means_other_bytes_until_the_result_is_complete(self, spool: Spool) -> None:
        spool.upload("s1", "t1", "r1", 6).write(b"abcde")
        upload = spool.upload("s1", "t1", "r1", 4)
        assert upload.got == 0
        upload.write(b"abcd")
        with pytest.raises(Refused, match="has 4 bytes here and 5 are announced now"):
            spool.upload("s1", "t1", "r1", 5)
        assert read(upload.span) == b"abcd"

    def test_discard_deletes_and_frees(self, spool: Spool, root: Path) -> None:
        upload = spool.upload("s1", "t1", "r1", 6)
        upload.write(b"abcdef")
        upload.discard()
        assert files(root, spool) == []
        assert spool.used("default") == 0
        assert spool.upload("s1", "t1", "r1", 6).got == 0

    def test_forgetting_a_complete_upload_deletes_it(self, spool: Spool, root: Path) -> None:
        upload = spool.upload("s1", "t1", "r1", 3)
        upload.write(b"abc")
        spool.forget(upload.span)
        assert files(root, spool) == []
        assert spool.used("default") == 0

    def test_a_released_upload_is_a_half_one_that_has_all_its_bytes(self, spool: Spool, root: Path) -> None:
        upload = spool.upload("s1", "t1", "r1", 3)
        upload.write(b"abc")
        spool.release(upload.span)
        assert spool.upload("s1", "t1", "r1", 3).got == 3
        spool.expire("t1")
        assert files(root, spool) == []
        assert spool.used("default") == 0

    def test_a_released_result_of_a_segment_is_forgotten(self, spool: Spool) -> None:
        kept, released = spool.append("s1", 1, b"abc"), spool.append("s1", 1, b"def")
        spool.release(released)
        assert read(kept) == b"abc"
        spool.release(kept)
        assert spool.used("default") == 0

    def test_a_settled_task_takes_its_half_uploads_along(self, spool: Spool, root: Path) -> None:
        half, whole = spool.upload("s1", "t1", "r1", 6), spool.upload("s1", "t1", "r2", 3)
        half.write(b"abc")
        whole.write(b"abc")
        spool.expire("t1")
        spool.expire("t2")
        assert read(whole.span) == b"abc"
        assert len(files(root, spool)) == 1
        assert spool.used("default") == 3
        with pytest.raises(Refused, match="cancelled"):
            half.write(b"def")

    async def test_sync_of_a_file_that_is_gone_fails_and_frees_it(self, spool: Spool) -> None:
        upload = spool.upload("s1", "t1", "r1", 3)
        upload.write(b"abc")
        remove(upload.span)
        with pytest.raises(StateError, match=r"cannot be made durable: No such file"):
            await upload.sync()
        assert spool.used("default") == 0


class TestLargeFiles:
    """Deleting 100 MB takes 30 ms: too long for the event loop, from which results are forgotten."""

    @pytest.fixture
    def spool(self, root: Path) -> Spool:
        return Spool(root, limit=2**23)

    def test_a_large_file_is_out_of_the_way_at_once_and_deleted_by_a_worker(self, spool: Spool, root: Path) -> None:
        upload = spool.upload("s1", "t1", "r1", 2**22)
        upload.write(bytes(2**22))
        spool.forget(upload.span)
        assert spool.used("default") == 0
        again = spool.upload("s1", "t1", "r1", 2**22)
        assert again.got == 0
        spool.close()
        assert files(root) == [str(Path(again.span.path).relative_to(root))]

    def test_what_a_killed_process_did_not_get_to_is_deleted_at_the_start(self, spool: Spool, root: Path) -> None:
        (root / ".trash" / "left").write_bytes(b"abc")
        spool.recover([])
        spool.close()  # when its worker is done
        assert not (root / ".trash" / "left").exists()


class TestSync:
    async def test_one_call_syncs_what_is_new_and_the_next_has_nothing_to_do(
        self, spool: Spool, synced: list[str]
    ) -> None:
        spool.append("s1", 1, b"abc")
        spool.append("s2", 1, b"abc")
        upload = spool.upload("s1", "t1", "r1", 3)
        upload.write(b"abc")
        half = spool.upload("s1", "t2", "r1", 3)
        half.write(b"a")
        await spool.sync()
        assert sum(name.endswith(".segment") for name in synced) == 2
        assert [name for name in synced if name.endswith(".upload")] == [upload.span.path]
        root = spool.root
        assert {str(root.parent), str(root), str(root / "default"), str(root / "default/s1")} <= set(synced)
        synced.clear()
        await spool.sync()
        assert synced == []

    async def test_an_upload_synced_by_itself_is_not_synced_again(self, spool: Spool, synced: list[str]) -> None:
        upload = spool.upload("s1", "t1", "r1", 3)
        upload.write(b"abc")
        await upload.sync()
        assert synced[0] == upload.span.path
        synced.clear()
        await spool.sync()
        assert upload.span.path not in synced

    async def test_what_is_appended_during_a_sync_is_synced_by_the_next(self, spool: Spool, synced: list[str]) -> None:
        async def append() -> Span:
            return spool.append("s1", 1, b"def")

        spool.append("s1", 1, b"abc")
        _, span = await asyncio.gather(spool.sync(), append())
        synced.clear()
        await spool.sync()
        assert synced == [span.path]

    async def test_a_second_batch_does_not_pass_while_the_first_is_under_way(self, spool: Spool) -> None:
        done = []

        async def batch(name: str) -> None:
            await spool.sync()
            done.append(name)

        spool.append("s1", 1, b"abc")
        await asyncio.gather(batch("first"), batch("second"))
        assert done == ["first", "second"]

    async def test_a_cancelled_sync_is_made_good_by_the_next(self, spool: Spool, synced: list[str]) -> None:
        async def cancel(task: asyncio.Task[None]) -> None:
            task.cancel()

        span = spool.append("s1", 1, b"abc")
        syncing = asyncio.create_task(spool.sync())
        await asyncio.gather(syncing, cancel(syncing), return_exceptions=True)
        assert syncing.cancelled()
        synced.clear()
        await spool.sync()
        assert span.path in synced

    async def test_a_sync_that_fails_while_a_file_is_deleted_leaves_the_others_to_the_next(
        self, spool: Spool, synced: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upload, kept = spool.upload("s1", "t1", "r1", 3), spool.append("s1", 1, b"def")
        upload.write(b"abc")

        def full(_: int, *__: object) -> int:
            upload.discard()
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            with pytest.raises(StateError, match="clients send again"):
                await spool.sync()
        await spool.sync()
        assert kept.path in synced
        assert read(kept) == b"def"

    async def test_after_a_failed_sync_nothing_is_promised_any_more(
        self, spool: Spool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def failing(_: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        spool.append("s1", 1, b"abc")
        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(StateError, match=r"restart the server: clients send again what has no receipt"):
            await spool.sync()
        with pytest.raises(StateError, match="cannot be made durable"):
            await spool.sync()
        with pytest.raises(StateError, match="cannot be made durable"):
            spool.append("s1", 1, b"abc")


class TestRecover:
    async def test_segments_are_cut_behind_the_last_committed_result_and_not_appended_to(self, root: Path) -> None:
        spool = Spool(root, 100 * KIB)
        kept, lost = spool.append("s1", 1, b"abc"), spool.append("s1", 1, b"def")
        await spool.sync()
        after = Spool(root, 100 * KIB)
        after.recover([kept])
        assert read(kept) == b"abc"
        assert length(lost) == 3
        assert after.used("default") == 3
        assert after.append("s1", 1, b"ghi").path != kept.path
        await after.sync()
        after.forget(kept)
        assert files(root, after) == ["default/s1/1-1.segment"]

    async def test_what_no_row_names_is_deleted(self, root: Path) -> None:
        before = Spool(root, 100 * KIB)
        before.append("s1", 1, b"abc")
        await before.sync()
        after = Spool(root, 100 * KIB)
        after.recover([])
        assert files(root, after) == []

    def test_half_uploads_stay_for_tasks_that_are_open(self, root: Path) -> None:
        for task in ("open", "settled"):
            half(root, task)
        after = Spool(root, 100 * KIB)
        after.recover([], open_tasks={"open"})
        assert after.used("default") == 3
        upload = after.upload("s1", "open", "r1", 6)
        assert upload.got == 3
        assert after.used("default") == 6
        upload.close()
        assert len(files(root)) == 1
        after.expire("open")
        assert files(root, after) == []

    def test_without_a_list_of_tasks_all_half_uploads_stay(self, root: Path) -> None:
        half(root)
        Spool(root, 100 * KIB).recover([])
        assert len(files(root)) == 1

    def test_a_half_upload_begins_again_after_a_start_of_the_system(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        half(root, data=bytes(3))  # what a power cut has left: its length, and zeros
        monkeypatch.setattr(start, "ID", b"another")
        after = Spool(root, 100 * KIB)
        after.recover([], open_tasks={"t1"})
        assert (after.got("s1", "t1", "r1", 6), files(root)) == (0, [])

    def test_a_half_upload_begins_again_after_each_process_where_the_systems_starts_have_no_id(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(start, "ID", b"")
        for _ in range(2):
            half(root)
            Spool(root, 100 * KIB).recover([], open_tasks={"t1"})
            assert files(root) == []

    def test_half_uploads_begin_again_where_the_note_of_the_systems_start_is_torn(self, root: Path) -> None:
        half(root)
        (root / START).write_bytes(b"")
        Spool(root, 100 * KIB).recover([])
        assert files(root) == []

    def test_a_committed_upload_is_whole_after_a_start_of_the_system(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        span = half(root)
        monkeypatch.setattr(start, "ID", b"another")
        after = Spool(root, 100 * KIB)
        after.recover([span.part(0, 3)], open_tasks=())
        assert after.upload("s1", "t1", "r1", 3).got == 3
        assert read(span.part(0, 3)) == b"abc"
        after.close()

    def test_committed_uploads_stay(self, root: Path) -> None:
        upload = Spool(root, 100 * KIB).upload("s1", "t1", "r1", 3)
        upload.write(b"abc")
        upload.close()
        after = Spool(root, 100 * KIB)
        after.recover([upload.span], open_tasks=())
        assert read(upload.span) == b"abc"
        after.forget(upload.span)
        assert files(root, after) == []

    async def test_a_moved_data_directory_keeps_its_results(self, root: Path, tmp_path: Path) -> None:
        spool = Spool(root, 100 * KIB)
        span = spool.append("s1", 1, b"abc")
        await spool.sync()
        place = spool.place(span)
        assert place == "default/s1/1-0.segment"
        moved = Spool(root.parent.rename(tmp_path / "elsewhere") / "spool", 100 * KIB)
        moved.recover([span])
        assert read(moved.locate(place, span.offset, span.size)) == b"abc"


def test_a_spool_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"file/spool cannot be written: Not a directory"):
        Spool(tmp_path / "file" / "spool", 1)


async def test_the_folder_of_a_session_whose_results_are_gone_goes_once_another_session_has_one(spool: Spool) -> None:
    """A combiner is not told that a session has ended. One that goes on has its folder anew."""
    for session in ("s1", "s2", "s1"):
        span = spool.append(session, 1, b"x" * KIB)
        await spool.sync()
        assert read(span) == b"x" * KIB
        spool.sweep()
        assert [path.name for path in spool.root.glob("default/*")] == [session]
        spool.forget(span)
