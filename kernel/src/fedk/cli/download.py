"""A model's bytes into a file: whole and with the hash that was committed, or not at all."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from fedk.api.errors import BlobError, FedkError
from fedk.cli.rest import Address, Rest, asked


async def fetched(at: Address, ref: str, output: Path | None, *, force: bool) -> tuple[Any, Path]:
    """The model's document, and the file."""
    async with asked(at) as rest:
        found = await rest.get("models", ref)
        name = found["ref"].replace("/", "-") + ".safetensors"
        file = output / name if output is not None and _is_folder(output) else output or Path(name)
        if _exists(file) and not force:
            raise FedkError(f"{file} exists already: --force replaces it, -o names another file")
        with _written(file) as scratch:
            await _download(rest, found, scratch)
        return found, file


async def _download(rest: Rest, found: Any, scratch: IO[bytes]) -> None:
    digest = hashlib.sha256()
    async with rest.stream("models", found["id"], "content") as answer:
        async for chunk in answer.aiter_bytes():
            digest.update(chunk)
            scratch.write(chunk)
    if digest.hexdigest() != found["sha256"]:
        raise BlobError(
            f"{found['ref']} arrived with the hash {digest.hexdigest()} instead of {found['sha256']}: nothing is "
            f"written. Again, or look at the server's copy: fedk model trail --verify"
        )


@contextmanager
def _written(file: Path) -> Iterator[IO[bytes]]:
    """A file beside it that takes its name once it is complete and on the disk."""
    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as scratch:
            try:
                yield scratch.file
                scratch.flush()
                os.fsync(scratch.fileno())
                os.fchmod(scratch.fileno(), 0o666 & ~_umask())
                Path(scratch.name).replace(file)
            except BaseException:
                Path(scratch.name).unlink()
                raise
    except OSError as error:
        raise FedkError(f"{file} cannot be written: {error.strerror}") from error


def _is_folder(file: Path) -> bool:
    return file.is_dir()


def _exists(file: Path) -> bool:
    return file.exists()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
