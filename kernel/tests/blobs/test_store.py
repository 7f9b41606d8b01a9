import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fsspec import AbstractFileSystem

from fedk.api.errors import BlobError, StateError
from fedk.api.storage import Storage
from fedk.blobs.reader import Reader, Span
from fedk.blobs.store import Blobs
from fedk.testing.storage import Memory
from fedk_plugin_local import Local, LocalConfig

ABC = hashlib.sha256(b"abc").digest()


class CountingMemory(Memory):
    """How often bytes were fetched."""

    fetched = 0

    def connect(self, data_dir: Path) -> tuple[AbstractFileSystem, str]:
        files, root = super().connect(data_dir)
        get_file = files.get_file

        def counted(*args: Any, **settings: Any) -> None:
            self.fetched += 1
            get_file(*args, **settings)

        files.get_file = counted
        return files, root


def read(span: Span) -> bytes:
    with Reader(span) as reader:
        return reader.read(0, span.size)


def blob_files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(params=[Local, Memory])
def storage(request: pytest.FixtureRequest) -> Storage[Any]:
    driver: type[Storage[Any]] = request.param
    return driver()


@pytest.fixture
async def blobs(storage: Storage[Any], data_dir: Path) -> AsyncIterator[Blobs]:
    blobs = await started(storage, data_dir)
    yield blobs
    await blobs.close()


async def started(storage: Storage[Any], data_dir: Path, *, cache_limit: int = 2**20) -> Blobs:
    blobs = Blobs(storage, data_dir, cache_limit=cache_limit)
    await blobs.start()
    return blobs


def damage(span: Span, data: bytes) -> None:
    Path(span.path).write_bytes(data)


def parts(data_dir: Path, storage: Storage[Any]) -> list[str]:
    files, root = storage.connect(data_dir)
    return [str(path) for path in files.find(root) if "/parts/" in path]


class TestAnyStorage:
    async def test_what_was_put_is_found_by_its_hash(self, blobs: Blobs) -> None:
        stored = await blobs.put("default", b"abc")
        assert (stored.sha256, stored.size) == (ABC, 3)
        assert await blobs.exists("default", ABC)
        assert read(await blobs.span("default", ABC)) == b"abc"

    async def test_a_part_written_in_pieces_is_one_blob(self, blobs: Blobs) -> None:
        with blobs.hold() as hold, hold.part("default") as part:
            part.write(b"a")
            part.write(memoryview(b"bc"))
            assert part.seal().sha256 == ABC
        assert read(await blobs.span("default", ABC)) == b"abc"

    async def test_a_project_does_not_see_anothers_blobs(self, blobs: Blobs) -> None:
        await blobs.put("one", b"abc")
        assert not await blobs.exists("two", ABC)
        with pytest.raises(BlobError, match="is missing"):
            await blobs.span("two", ABC)

    async def test_an_abandoned_part_leaves_nothing(self, blobs: Blobs, storage: Storage[Any], data_dir: Path) -> None:
        with blobs.hold() as hold, hold.part("default") as part:
            part.write(b"abc")
            assert len(parts(data_dir, storage)) == 1
        assert parts(data_dir, storage) == []
        assert not await blobs.exists("default", ABC)
        assert [name for name in blob_files(data_dir) if not name.startswith("blobs/")] == []

    async def test_a_part_that_was_never_written_touches_nothing(self, blobs: Blobs, data_dir: Path) -> None:
        blobs.hold().part("default").abandon()
        assert blob_files(data_dir) == []

    async def test_a_part_that_a_killed_process_left_goes_with_the_next_ones_first(
        self, storage: Storage[Any], data_dir: Path
    ) -> None:
        killed = (await started(storage, data_dir)).hold().part("default")
        killed.write(b"half a model")
        after = await started(storage, data_dir)
        assert len(parts(data_dir, storage)) == 1, "who only reads leaves it alone"
        await after.put("default", b"abc")
        assert parts(data_dir, storage) == []
        killed.abandon()

    async def test_a_sealed_part_takes_nothing_more(self, blobs: Blobs) -> None:
        part = blobs.hold().part("default")
        part.seal()
        with pytest.raises(ValueError, match="sealed or abandoned"):
            part.write(b"late")

    async def test_identical_blobs_are_stored_once(self, blobs: Blobs, storage: Storage[Any], data_dir: Path) -> None:
        for _ in range(2):
            await blobs.put("default", b"abc")
        files, root = storage.connect(data_dir)
        assert files.find(root) == [f"{root}/default/{ABC.hex()[:2]}/{ABC.hex()}"]

    async def test_a_missing_blob_names_hash_path_and_next_step(self, blobs: Blobs) -> None:
        with pytest.raises(BlobError, match=rf"{ABC.hex()} is missing: there is no /.*/default/.*Restore it there"):
            await blobs.span("default", ABC)

    async def test_a_deleted_blob_is_gone_also_where_it_was_known(self, blobs: Blobs, data_dir: Path) -> None:
        await blobs.put("default", b"abc")
        await blobs.span("default", ABC)
        for _ in range(2):
            assert blobs.leave("default", ABC)
            assert await blobs.erase("default", ABC)
        with pytest.raises(BlobError, match="is missing"):
            await blobs.span("default", ABC)
        assert blob_files(data_dir) == []

    async def test_who_asks_while_another_one_does_gets_the_same_span(
        self, storage: Storage[Any], data_dir: Path
    ) -> None:
        await (await started(storage, data_dir)).put("default", b"abc")
        blobs = await started(storage, data_dir)
        first, second = await asyncio.gather(blobs.span("default", ABC), blobs.span("default", ABC))
        assert first is second

    async def test_who_gives_up_does_not_spoil_it_for_the_others(self, storage: Storage[Any], data_dir: Path) -> None:
        await (await started(storage, data_dir)).put("default", b"abc")
        blobs = await started(storage, data_dir)
        first, second = (asyncio.create_task(blobs.span("default", ABC)) for _ in range(2))

        async def give_up() -> None:
            first.cancel()

        _, span, _ = await asyncio.gather(first, second, give_up(), return_exceptions=True)
        assert first.cancelled()
        assert isinstance(span, Span)


class TestLocalStorage:
    async def test_blobs_are_read_in_place(self, data_dir: Path) -> None:
        blobs = await started(Local(), data_dir)
        await blobs.put("default", b"abc")
        span = await blobs.span("default", ABC)
        assert span == Span(str(data_dir / "blobs/default" / ABC.hex()[:2] / ABC.hex()), 0, 3)

    async def test_damage_is_found_at_the_first_use_in_a_process(self, data_dir: Path) -> None:
        blobs = await started(Local(), data_dir)
        await blobs.put("default", b"abc")
        damage(await blobs.span("default", ABC), b"abd")
        after = await started(Local(), data_dir)
        with pytest.raises(BlobError, match=rf"{ABC.hex()} is damaged: the bytes of /.* Restore it there"):
            await after.span("default", ABC)

    async def test_a_file_that_changed_is_verified_again(self, data_dir: Path) -> None:
        blobs = await started(Local(), data_dir)
        await blobs.put("default", b"abc")
        span = await blobs.span("default", ABC)
        damage(span, b"abcd")
        with pytest.raises(BlobError, match="is damaged"):
            await blobs.span("default", ABC)
        damage(span, b"abc")
        assert await blobs.span("default", ABC) == span

    async def test_a_verified_file_is_not_read_again(self, data_dir: Path) -> None:
        blobs = await started(Local(), data_dir)
        await blobs.put("default", b"abc")
        assert await blobs.span("default", ABC) is await blobs.span("default", ABC)

    async def test_storing_it_again_heals_a_damaged_blob(self, data_dir: Path) -> None:
        blobs = await started(Local(), data_dir)
        await blobs.put("default", b"abc")
        damage(await blobs.span("default", ABC), b"xyz")
        await blobs.put("default", b"abc")
        assert read(await blobs.span("default", ABC)) == b"abc"

    async def test_a_storage_that_cannot_be_opened_is_named(self, tmp_path: Path) -> None:
        storage = Local(LocalConfig(path="/proc/none"))
        with pytest.raises(StateError, match=r"storage \(Local\) could not open its root: .*none"):
            await started(storage, tmp_path)


class TestStorageElsewhere:
    async def test_a_blob_just_stored_is_not_fetched_back(self, data_dir: Path) -> None:
        blobs = await started(storage := CountingMemory(), data_dir)
        await blobs.put("default", b"abc")
        assert read(await blobs.span("default", ABC)) == b"abc"
        assert storage.fetched == 0

    async def test_another_machine_fetches_it_once(self, data_dir: Path) -> None:
        await (await started(Memory(), data_dir)).put("default", b"abc")
        empty(data_dir / "cache")
        for fetched in (1, 0):  # the second start finds the copy
            blobs = await started(storage := CountingMemory(), data_dir)
            for _ in range(3):
                assert read(await blobs.span("default", ABC)) == b"abc"
            assert storage.fetched == fetched

    async def test_a_torn_copy_is_fetched_again(self, data_dir: Path) -> None:
        blobs = await started(CountingMemory(), data_dir)
        await blobs.put("default", b"abc")
        damage(await blobs.span("default", ABC), b"a")
        after = await started(storage := CountingMemory(), data_dir)
        assert read(await after.span("default", ABC)) == b"abc"
        assert storage.fetched == 1

    async def test_damage_in_the_storage_names_its_path_there_and_keeps_no_copy(self, data_dir: Path) -> None:
        await (await started(Memory(), data_dir)).put("default", b"abc")
        empty(data_dir / "cache")
        files, root = Memory().connect(data_dir)
        files.pipe_file(f"{root}/default/{ABC.hex()[:2]}/{ABC.hex()}", b"abd")
        blobs = await started(Memory(), data_dir)
        with pytest.raises(BlobError, match=rf"{ABC.hex()} is damaged: the bytes of {re.escape(root)}/default/"):
            await blobs.span("default", ABC)
        assert blob_files(data_dir / "cache") == []

    async def test_the_copies_asked_for_longest_ago_go_first(self, data_dir: Path) -> None:
        blobs = await started(CountingMemory(), data_dir, cache_limit=25)
        one, two, three = [await blobs.put("default", bytes([n]) * 10) for n in range(3)]
        assert len(blob_files(data_dir / "cache")) == 2
        await blobs.span("default", two.sha256)
        await blobs.span("default", one.sha256)
        assert copies(data_dir) == {one.sha256, two.sha256}
        assert await blobs.exists("default", three.sha256)

    async def test_the_order_outlives_a_restart(self, data_dir: Path) -> None:
        blobs = await started(Memory(), data_dir)
        one, two = [await blobs.put("default", bytes([n]) * 10) for n in range(2)]
        await blobs.span("default", one.sha256)
        after = await started(Memory(), data_dir, cache_limit=25)
        three = await after.put("default", b"3" * 10)
        assert copies(data_dir) == {one.sha256, three.sha256}
        assert await after.exists("default", two.sha256)

    async def test_a_blob_larger_than_the_cache_is_served_all_the_same(self, data_dir: Path) -> None:
        blobs = await started(Memory(), data_dir, cache_limit=1)
        await blobs.put("default", b"abc")
        assert read(await blobs.span("default", ABC)) == b"abc"

    async def test_a_service_that_fails_is_named_with_its_words(self, data_dir: Path) -> None:
        class Down(Memory):
            def seal(self, part: str, path: str) -> None:
                raise ConnectionError("503 slow down")

        blobs = await started(Down(), data_dir)
        with pytest.raises(StateError, match=r"storage \(Down\) could not make durable /.*: 503 slow down\. Look at"):
            await blobs.put("default", b"abc")
        assert blob_files(data_dir) == []


def copies(data_dir: Path) -> set[bytes]:
    return {bytes.fromhex(Path(name).name) for name in blob_files(data_dir / "cache")}


def empty(directory: Path) -> None:
    for name in blob_files(directory):
        (directory / name).unlink()
