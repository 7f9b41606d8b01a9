"""A session's initial model, as its file names it: FILE:APP, a file, SESSION/ROUND, a model's id."""

import asyncio
import re
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fedk.api.errors import ConfigError, FedkError
from fedk.api.suggestion import did_you_mean
from fedk.cli.rest import Rest
from fedk.local.environment import inherited

_APP = re.compile(r"(?P<file>.+\.py):(?P<app>[A-Za-z_]\w*)")
_CHUNK = 2**20


@asynccontextmanager
async def file_of(model: Any, folder: Path) -> AsyncIterator[Path | None]:
    """A file with the model's bytes, there while the block runs; None where the server is to say what it is."""
    if not isinstance(model, str):
        yield None
    elif match := _APP.fullmatch(model):
        source = _existing(folder / match["file"], model)
        with tempfile.TemporaryDirectory(prefix="fedk-") as scratch:
            built = Path(scratch, "initial.safetensors")
            await _build(f"{source}:{match['app']}", built, folder)
            yield built
    elif model.endswith(".py"):
        raise ConfigError(f'model = "{model}" wants FILE:APP, for example "{model}:app"')
    elif model.endswith(".safetensors"):
        yield _existing(folder / model, model)
    else:
        yield None


async def put(rest: Rest, file: Path) -> Any:
    """Send a file's bytes; returns the model's document."""
    return await rest.put("models", content=_bytes(file), size=_size(file))


def _size(file: Path) -> int:
    """Of what begins as a safetensors file does, with a length and a brace: the server checks all of it."""
    try:
        with file.open("rb") as source:
            if source.read(9)[8:] != b"{":
                raise FedkError(
                    f"{file} is no safetensors file. fedk session start builds the model of an app: FILE:APP"
                )
        return file.stat().st_size
    except OSError as error:
        raise FedkError(f"{file} cannot be read: {error.strerror}") from error


async def _bytes(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as source:
        while chunk := await asyncio.to_thread(source.read, _CHUNK):
            yield chunk


def _existing(path: Path, model: str) -> Path:
    if path.is_file():
        return path
    near = did_you_mean(path.name, [p.name for p in path.parent.glob(f"*{path.suffix}")], "{}")
    raise ConfigError(f'model = "{model}": no file {path.name} (in {path.parent}).{near}')


async def _build(app: str, out: Path, folder: Path) -> None:
    """In a process of its own: user code may do anything to the one that it runs in."""
    if find_spec("fedk_client") is None:
        raise FedkError(f"{app} is built with fedk-client, which is not installed:  pip install 'fedk[standard]'")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fedk_client.initial", app, str(out), cwd=folder, env=inherited(),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = "\n".join(said.decode(errors="replace").strip().splitlines()[-15:])
        raise FedkError(f"the initial model of {app} was not made:\n{last}")
