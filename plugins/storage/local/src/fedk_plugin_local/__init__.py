"""Model bytes in files of this machine."""

import os
from itertools import takewhile
from pathlib import Path

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from pydantic import Field

from fedk.api.config import Config
from fedk.api.storage import Storage

__all__ = ["Local", "LocalConfig"]


class LocalConfig(Config):
    path: str = Field("blobs", min_length=1, description="directory of the files; a relative one is in the data_dir")


class Local(Storage[LocalConfig]):
    """A blob is visible under its path only whole, and survives a power cut from then on."""

    local = True

    def connect(self, data_dir: Path) -> tuple[AbstractFileSystem, str]:
        self.root = (data_dir / Path(self.config.path).expanduser()).resolve()
        missing = [path for path in (self.root, *self.root.parents) if not path.exists()]
        self.root.mkdir(parents=True, exist_ok=True)
        for path in missing:
            _sync(path.parent)
        self._durable = {self.root}
        return LocalFileSystem(), str(self.root)

    def seal(self, part: str, path: str) -> None:
        """Bytes first, then the name, then the directories that lead to it: a power cut leaves all or nothing."""
        _sync(Path(part))
        target = Path(path)
        missing: set[Path] = set(takewhile(_is_missing, target.parents))
        self._durable -= missing
        target.parent.mkdir(parents=True, exist_ok=True)
        Path(part).replace(target)
        self._sync_names(target.parent)

    def _sync_names(self, directory: Path) -> None:
        """The new name, and once in each process those of the directories above: an older one may not have lived to."""
        _sync(directory)
        if directory not in self._durable:
            self._sync_names(directory.parent)
            self._durable.add(directory)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_missing(path: Path) -> bool:
    return not path.exists()
