"""A storage driver as the kernel uses it: projects and hashes in, errors that name things out. Blocking."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from fsspec import AbstractFileSystem

from fedk.api.errors import BlobError, FedkError, StateError
from fedk.api.storage import Storage


@dataclass(frozen=True, slots=True)
class Bucket:
    """Keys are <project>/<aa>/<sha256 in hex>, parts <project>/parts/<name>, below the driver's root."""

    storage: Storage[Any]
    files: AbstractFileSystem
    root: str

    @classmethod
    def connect(cls, storage: Storage[Any], data_dir: Path) -> Self:
        with _calling(storage, "open", "its root"):
            return cls(storage, *storage.connect(data_dir))

    def path(self, project: str, sha256: bytes) -> str:
        name = sha256.hex()
        return f"{self.root}/{project}/{name[:2]}/{name}"

    def part(self, project: str, name: str) -> str:
        return f"{self.root}/{project}/parts/{name}"

    def create(self, path: str) -> BinaryIO:
        with _calling(self.storage, "create", path):
            self.files.makedirs(path.rpartition("/")[0], exist_ok=True)
            return self.files.open(path, "wb")  # type: ignore[no-any-return]  # fsspec is untyped

    @contextmanager
    def writing(self, path: str) -> Iterator[None]:
        """Around calls of a file that `create` gave: it is the driver's too."""
        with _calling(self.storage, "write", path):
            yield

    def seal(self, part: str, path: str) -> None:
        with _calling(self.storage, "make durable", path):
            self.storage.seal(part, path)

    def remove(self, path: str) -> None:
        """Gone afterwards, whether it was there or not."""
        with _calling(self.storage, "delete", path), suppress(FileNotFoundError):
            self.files.rm_file(path)

    def exists(self, path: str) -> bool:
        with _calling(self.storage, "look for", path):
            self.files.invalidate_cache(path.rpartition("/")[0])
            return bool(self.files.exists(path))

    def fetch(self, project: str, sha256: bytes, target: Path) -> None:
        path = self.path(project, sha256)
        with _calling(self.storage, "read", path):
            try:
                self.files.get_file(path, str(target))
            except FileNotFoundError as error:
                raise missing(sha256, path) from error


@contextmanager
def _calling(storage: Storage[Any], verb: str, path: str) -> Iterator[None]:
    try:
        yield
    except FedkError:
        raise
    except Exception as error:  # foreign code: each driver has its own tree of errors
        raise StateError(
            f"storage ({type(storage).__name__}) could not {verb} {path}: {error or type(error).__name__}. "
            "Look at its disk or service, and at [storage] in the configuration"
        ) from error


def missing(sha256: bytes, path: str) -> BlobError:
    return BlobError(
        f"blob {sha256.hex()} is missing: there is no {path}. "
        "Restore it there from a backup, or put the same model again (fedk model put)"
    )
