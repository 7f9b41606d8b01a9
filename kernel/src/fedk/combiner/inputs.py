"""Inputs: the blobs that relayed tasks bring, fetched from the parent once and read by many."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fedk.api.errors import BlobError, NotFound
from fedk.blobs import disk
from fedk.blobs.reader import Span
from fedk.combiner.parent import Parent


class Inputs:
    """Files named by their hashes. A cache: a start begins with none, and a file goes with its last user."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._users: Counter[bytes] = Counter()
        self._sizes: dict[bytes, int] = {}
        self._fetches: dict[bytes, asyncio.Task[Span]] = {}
        disk.create(root)
        for path in root.iterdir():
            path.unlink()

    @asynccontextmanager
    async def lent(self, sha256: bytes, parent: Parent) -> AsyncIterator[None]:
        """The blob is here meanwhile. As `use`."""
        await self.use(sha256, parent)
        try:
            yield
        finally:
            self.release(sha256)

    async def use(self, sha256: bytes, parent: Parent, inline: bytes | None = None) -> Span:
        """The blob, here from now on until `release`. StateError: the parent is away; BlobError: damaged on the way."""
        self._users[sha256] += 1
        if sha256 not in self._fetches:
            self._fetches[sha256] = asyncio.create_task(self._fetch(sha256, parent, inline))
        fetch = self._fetches[sha256]
        try:
            return await asyncio.shield(fetch)
        except BaseException:
            # whoever goes leaves it to the others, and one that has failed is not the one that was begun after it
            if _has_failed(fetch) and self._fetches.get(sha256) is fetch:
                del self._fetches[sha256]
            self.release(sha256)
            raise

    def release(self, sha256: bytes) -> None:
        """One user less."""
        self._users[sha256] -= 1
        if self._users[sha256] <= 0:
            del self._users[sha256]
            if (fetch := self._fetches.pop(sha256, None)) is not None:
                fetch.cancel()  # nobody waits for it, and its name may be used again
            self._sizes.pop(sha256, None)
            self._path(sha256).unlink(missing_ok=True)

    def span(self, sha256: bytes) -> Span:
        """The bytes of a blob that is here. NotFound otherwise."""
        if sha256 not in self._sizes:
            raise NotFound(f"no open task brings the blob {sha256.hex()}")
        return Span(str(self._path(sha256)), 0, self._sizes[sha256])

    def _path(self, sha256: bytes) -> Path:
        return self._root / sha256.hex()

    async def _fetch(self, sha256: bytes, parent: Parent, inline: bytes | None) -> Span:
        digest, path = hashlib.sha256(), self._path(sha256)
        with disk.writing(path), path.open("wb") as file:

            def write(data: bytes) -> None:
                digest.update(data)
                file.write(data)

            if inline is not None:
                write(inline)
            else:
                await parent.fetch(sha256, write)
            size = file.tell()
        if digest.digest() != sha256:
            path.unlink()
            raise BlobError(f"blob {sha256.hex()[:8]}… came from the parent with another hash")
        self._sizes[sha256] = size
        return Span(str(path), 0, size)


def _has_failed(fetch: "asyncio.Task[Span]") -> bool:
    return fetch.done() and (fetch.cancelled() or fetch.exception() is not None)
