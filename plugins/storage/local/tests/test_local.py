import os
from pathlib import Path

import pytest

from fedk.testing.readme import key_table
from fedk.testing.storage import StorageSuite
from fedk_plugin_local import Local, LocalConfig


class TestLocal(StorageSuite):
    @pytest.fixture
    def storage(self) -> Local:
        return Local()


def test_a_relative_path_is_in_the_data_directory(tmp_path: Path) -> None:
    _, root = Local(LocalConfig(path="models")).connect(tmp_path)
    assert root == str(tmp_path / "models")


def test_an_absolute_path_is_taken_as_it_is(tmp_path: Path) -> None:
    _, root = Local(LocalConfig(path=str(tmp_path / "disk"))).connect(tmp_path / "data")
    assert root == str(tmp_path / "disk")


def test_who_reads_while_a_blob_is_replaced_keeps_the_bytes_he_opened(tmp_path: Path) -> None:
    storage = Local()
    files, root = storage.connect(tmp_path)
    for text in (b"old", b"new"):
        files.pipe_file(f"{root}/part", text)
        storage.seal(f"{root}/part", f"{root}/default/ab/abc")
        if text == b"old":
            handle = os.open(f"{root}/default/ab/abc", os.O_RDONLY)
    assert os.read(handle, 9) == b"old"
    os.close(handle)


def test_the_readme_has_every_key() -> None:
    assert key_table(LocalConfig) in (Path(__file__).parent.parent / "README.md").read_text()
