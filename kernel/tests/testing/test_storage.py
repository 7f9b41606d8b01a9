"""The storage suite catches each driver that is wrong on purpose, by the test that is about it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedk.api.storage import Storage
from fedk.testing.storage import Bench, Memory, StorageSuite
from fedk_plugin_local import Local


class TestMemory(StorageSuite):
    @pytest.fixture
    def storage(self) -> Memory:
        return Memory()


class Unsynced(Local):
    def seal(self, part: str, path: str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(part).replace(path)


class Copying(Local):
    def seal(self, part: str, path: str) -> None:
        copy = shutil.copy(part, f"{part}-copy")
        super().seal(part, path)
        shutil.copy(copy, f"{path}-new")
        Path(f"{path}-new").replace(path)


class Keeping(Local):
    def seal(self, part: str, path: str) -> None:
        shutil.copy(part, f"{part}-copy")
        super().seal(f"{part}-copy", path)


class Eager(Local):
    def seal(self, part: str, path: str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
        super().seal(part, path)


class Deleting(Local):
    def seal(self, part: str, path: str) -> None:
        Path(path).unlink(missing_ok=True)
        super().seal(part, path)


class First(Local):
    def seal(self, part: str, path: str) -> None:
        if Path(path).exists():
            Path(part).unlink()
        else:
            super().seal(part, path)


class Quiet(Local):
    def seal(self, part: str, path: str) -> None:
        if Path(part).exists():
            super().seal(part, path)


def bench_of(storage: Storage[Any], data_dir: Path) -> tuple[Bench, str]:
    bench = Bench(storage, *storage.connect(data_dir))
    return bench, f"{bench.root}/default/ab/abab"


@pytest.mark.parametrize("driver", [Unsynced, Copying])
def test_a_seal_that_is_not_durable_is_caught(
    driver: type[Local], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, key = bench_of(driver(), tmp_path)
    with pytest.raises(AssertionError, match=r"sync the part|rename the part"):
        StorageSuite().test_local_bytes_are_durable_before_their_name_and_then_the_name(bench, key, monkeypatch)


@pytest.mark.parametrize(
    ("driver", "test", "words"),
    [
        (Keeping, StorageSuite.test_a_blob_is_visible_from_its_seal_on_and_its_part_no_more, "part is still there"),
        (Eager, StorageSuite.test_a_seal_without_its_part_fails_and_leaves_nothing, "left something under its key"),
        (First, StorageSuite.test_a_seal_replaces_what_stood_under_the_key, "did not replace the first"),
        (Deleting, StorageSuite.test_a_failed_seal_keeps_what_stood_under_the_key, "took away what stood"),
        (Quiet, StorageSuite.test_a_seal_without_its_part_fails_and_leaves_nothing, "raised nothing"),
    ],
)
def test_a_wrong_seal_is_caught(
    driver: type[Local], test: Callable[[StorageSuite, Bench, str], None], words: str, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match=words):
        test(StorageSuite(), *bench_of(driver(), tmp_path))
