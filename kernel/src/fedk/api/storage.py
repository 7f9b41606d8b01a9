"""Storage: where model bytes live. The kernel does keys and hashes; a driver gives a filesystem and durability."""

from abc import ABC, abstractmethod
from pathlib import Path

from fsspec import AbstractFileSystem

from fedk.api.driver import C, Driver


class Storage(Driver[C], ABC):
    """Model bytes behind fsspec. All calls block; the kernel makes them in worker threads."""

    local = False
    """True where a path of the filesystem is a path of this machine: the kernel then reads blobs in place."""

    @abstractmethod
    def connect(self, data_dir: Path) -> tuple[AbstractFileSystem, str]:
        """The filesystem, and the root below which the kernel's keys stand. Relative settings start at `data_dir`."""

    @abstractmethod
    def seal(self, part: str, path: str) -> None:
        """Turn the complete object `part` into `path`: durable and wholly visible when this returns, or not at all."""
