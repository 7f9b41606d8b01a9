"""Model bytes in files of this machine."""

import os
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
        return LocalFileSystem(), str(self.root)

    def seal(self, part: str, path: str) -> None:
        """Bytes first, then the name, then the directories that lead to it: a power cut leaves all or nothing."""
        _sync(Path(part))
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        Path(part).replace(target)
        for directory in target.parents:
            _sync(directory)
            if directory == self.root:
                return


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
