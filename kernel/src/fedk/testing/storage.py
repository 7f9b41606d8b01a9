"""What every storage driver must do. Subclass `StorageSuite`, override the fixture `storage`, and run it with pytest.

class TestLocal(StorageSuite):
    @pytest.fixture
    def storage(self) -> Local:
        return Local()
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from fedk.api.storage import Storage
from fedk.testing.suite import Suite, since

MIB = 2**20


class Memory(Storage[Any]):
    """A storage that is elsewhere, for tests: objects in this process's memory, a data directory each its own."""

    def connect(self, data_dir: Path) -> tuple[AbstractFileSystem, str]:
        self.files = MemoryFileSystem()
        return self.files, f"/fedk/{data_dir.resolve()}"

    def seal(self, part: str, path: str) -> None:
        self.files.mv(part, path)


@dataclass(frozen=True, slots=True)
class Bench:
    """A connected driver, and a way to write parts."""

    storage: Storage[Any]
    files: AbstractFileSystem
    root: str

    def write(self, *chunks: bytes, name: str = "one") -> str:
        path = f"{self.root}/default/parts/{name}"
        self.files.makedirs(path.rpartition("/")[0], exist_ok=True)
        with self.files.open(path, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
        return path

    def exists(self, path: str) -> bool:
        self.files.invalidate_cache()
        return bool(self.files.exists(path))

    def read(self, path: str) -> bytes:
        self.files.invalidate_cache()
        return bytes(self.files.cat_file(path))


@since("1.0")
class StorageSuite(Suite):
    """Tests of a driver as the kernel uses it: a part is written, sealed under its key, read, replaced, deleted."""

    @pytest.fixture
    def storage(self) -> Storage[Any]:
        """The driver to test, configured, not yet connected."""
        raise NotImplementedError("override the fixture `storage` with your driver")

    @pytest.fixture
    def data_dir(self, tmp_path: Path) -> Path:
        return tmp_path / "data"

    @pytest.fixture
    def bench(self, storage: Storage[Any], data_dir: Path) -> Iterator[Bench]:
        files, root = storage.connect(data_dir)
        yield Bench(storage, files, root)
        if files.exists(root):
            files.rm(root, recursive=True)

    @pytest.fixture
    def key(self, bench: Bench) -> str:
        return f"{bench.root}/default/ab/{'ab' * 32}"

    def test_a_blob_is_visible_from_its_seal_on_and_its_part_no_more(self, bench: Bench, key: str) -> None:
        part = bench.write(b"model", b" bytes")
        assert not bench.exists(key), "the blob is visible before its seal"
        bench.storage.seal(part, key)
        assert bench.read(key) == b"model bytes", "what was sealed is not what was written"
        assert not bench.exists(part), "the part is still there after its seal: it would fill the disk"

    def test_a_seal_replaces_what_stood_under_the_key(self, bench: Bench, key: str) -> None:
        bench.storage.seal(bench.write(b"damaged"), key)
        bench.storage.seal(bench.write(b"whole", name="two"), key)
        assert bench.read(key) == b"whole", "the second seal of a key did not replace the first"

    def test_a_seal_without_its_part_fails_and_leaves_nothing(self, bench: Bench, key: str) -> None:
        assert _fails(bench, key), "the seal of a part that is not there raised nothing"
        assert not bench.exists(key), "a seal that failed left something under its key"

    def test_a_failed_seal_keeps_what_stood_under_the_key(self, bench: Bench, key: str) -> None:
        bench.storage.seal(bench.write(b"model"), key)
        assert _fails(bench, key), "the seal of a part that is not there raised nothing"
        assert bench.exists(key), "a seal that failed took away what stood under its key"
        assert bench.read(key) == b"model", "a seal that failed changed what stood under its key"

    def test_a_missing_blob_is_file_not_found(self, bench: Bench, key: str, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            bench.files.get_file(key, str(tmp_path / "copy"))
        with pytest.raises(FileNotFoundError):
            bench.files.rm_file(key)

    def test_a_deleted_blob_is_gone_and_can_be_stored_again(self, bench: Bench, key: str) -> None:
        bench.storage.seal(bench.write(b"model"), key)
        bench.files.rm_file(key)
        assert not bench.exists(key), "the blob is there after it was deleted"
        bench.storage.seal(bench.write(b"model", name="two"), key)
        assert bench.read(key) == b"model", "a key that was deleted cannot be stored again"

    def test_an_empty_blob_is_a_blob(self, bench: Bench, key: str) -> None:
        bench.storage.seal(bench.write(), key)
        assert bench.read(key) == b"", "an empty blob came back with bytes"

    def test_a_large_blob_is_written_and_read_in_pieces(self, bench: Bench, key: str, tmp_path: Path) -> None:
        bench.storage.seal(bench.write(*(bytes([n]) * MIB for n in range(24))), key)
        bench.files.invalidate_cache()
        piece = bench.files.cat_file(key, start=5 * MIB - 1, end=5 * MIB + 1)
        assert piece == b"\x04\x05", "a piece from the middle of a blob is not what was written there"
        bench.files.get_file(key, str(tmp_path / "copy"))
        assert (tmp_path / "copy").stat().st_size == 24 * MIB, "the copy of a large blob has another size"

    def test_a_process_that_starts_later_sees_what_was_sealed(self, bench: Bench, key: str, data_dir: Path) -> None:
        bench.storage.seal(bench.write(b"model"), key)
        files, root = type(bench.storage)(bench.storage.config).connect(data_dir)
        assert root == bench.root, "the root depends on more than settings and data directory"
        assert files.cat_file(key) == b"model", "a driver made anew does not find what was sealed"

    def test_local_bytes_are_durable_before_their_name_and_then_the_name(
        self, bench: Bench, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not bench.storage.local:
            pytest.skip("not local: the service answers for durability")
        part = bench.write(b"model")
        written = _identity(part)
        synced = _record_syncs(monkeypatch, lambda: Path(key).exists())
        bench.storage.seal(part, key)
        assert (written, False) in synced, "sync the part before its rename"
        assert _identity(key) == written, "rename the part: a copy can be seen half"
        for directory in Path(key).parents:
            assert (_identity(directory), True) in synced, f"sync {directory} after the rename"
            if str(directory) == bench.root:
                break


def _fails(bench: Bench, key: str) -> bool:
    """Whether the seal of a part that is not there raises."""
    try:
        bench.storage.seal(f"{bench.root}/default/parts/none", key)
    except Exception:  # noqa: BLE001  # each driver has its own tree of errors
        return True
    return False


def _identity(path: str | Path) -> tuple[int, int]:
    status = Path(path).stat()
    return status.st_dev, status.st_ino


def _record_syncs(monkeypatch: pytest.MonkeyPatch, visible: Callable[[], bool]) -> list[tuple[tuple[int, int], bool]]:
    """Each file that is synced from now on, and whether the blob was visible then."""
    synced: list[tuple[tuple[int, int], bool]] = []

    def recording(sync: Callable[[Any], None]) -> Callable[[Any], None]:
        def recorded(file: Any) -> None:
            status = os.fstat(file if isinstance(file, int) else file.fileno())
            synced.append(((status.st_dev, status.st_ino), visible()))
            sync(file)

        return recorded

    monkeypatch.setattr(os, "fsync", recording(os.fsync))
    if hasattr(os, "fdatasync"):
        monkeypatch.setattr(os, "fdatasync", recording(os.fdatasync))
    return synced
