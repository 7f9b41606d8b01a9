"""The lock: the distribution, version and hash of every plugin that may be there, checked before any is imported."""

import hashlib
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import Distribution, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from fedk.api.errors import ConfigError
from fedk.api.toml import toml
from fedk.catalogue.scan import Entry, Owner

_UNSTABLE = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"}
_PIECE = 2**20

_HEAD = """\
# What `fedk plugins freeze` found with fedk {}. With  plugins.lock = "{}"  in fedk.toml a server starts only
# where exactly these are installed. After an upgrade that you trust, freeze again.
"""


@dataclass(frozen=True, slots=True)
class Locked:
    """One distribution that brings plugins."""

    distribution: str
    version: str
    sha256: str


def freeze(entries: Iterable[Entry]) -> list[Locked]:
    """What is installed, by name. Reads the files, imports nothing."""
    owners = {canonicalize_name(entry.owner.distribution): entry.owner for entry in entries}
    modules = {name: {e.module for e in entries if canonicalize_name(e.owner.distribution) == name} for name in owners}
    return [Locked(name, owner.version, _hash(owner, modules[name])) for name, owner in sorted(owners.items())]


def written(locked: Iterable[Locked], name: str) -> str:
    """The lock file's text."""
    parts = [
        "\n".join(["[[plugin]]", *(f"{key} = {toml(value)}" for key, value in asdict(one).items())]) + "\n"
        for one in locked
    ]
    return "\n".join([_HEAD.format(version("fedk"), name), *parts])


def enforce(path: Path, entries: Iterable[Entry]) -> None:
    """ConfigError names everything that is not as the lock says."""
    wrong = list(_differences(read(path), freeze(list(entries))))
    if wrong:
        advice = f"Trust what is installed:  fedk plugins freeze -o {path}   Or reinstall what the lock names."
        raise ConfigError(f"{path} (plugins.lock): {len(wrong)} of the installed plugins differ", [*wrong, advice])


def read(path: Path) -> list[Locked]:
    """What a lock file says. ConfigError says what is wrong with it."""
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
        return [Locked(**plugin) for plugin in document.get("plugin", [])]
    except FileNotFoundError as error:
        raise ConfigError(f"no lock file {path} (plugins.lock). fedk plugins freeze -o {path}  writes it") from error
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} (plugins.lock) is no lock file: {error}. fedk plugins freeze -o {path}") from error


def _differences(wanted: Iterable[Locked], found: Iterable[Locked]) -> Iterator[str]:
    lock: dict[str, Locked] = {canonicalize_name(one.distribution): one for one in wanted}
    here = {one.distribution: one for one in found}
    for name in sorted(lock.keys() | here.keys()):
        if name not in here:
            yield f"{name} {lock[name].version} is locked and not installed:  pip install {name}=={lock[name].version}"
        elif name not in lock:
            yield f"{name} {here[name].version} is installed and not locked:  pip uninstall {name}"
        elif here[name].version != lock[name].version:
            yield f"{name} is {here[name].version}, locked {lock[name].version}:  pip install {name}=={lock[name].version}"
        elif here[name].sha256 != lock[name].sha256:
            yield f"{name} {lock[name].version} has other files than were locked: {here[name].sha256[:12]}… now"


def _hash(owner: Owner, modules: Iterable[str]) -> str:
    """Over the names and bytes of its files: those that its installer recorded, and those beside its modules."""
    digest = hashlib.sha256()
    for name, path in sorted({**_recorded(owner.source), **_beside(modules)}.items()):
        digest.update(name.encode() + b"\0")
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    return digest.hexdigest()


def _recorded(source: Distribution | None) -> dict[str, Path]:
    files = (source.files if source is not None else None) or ()
    paths = {str(file): Path(str(file.locate())) for file in files if file.name not in _UNSTABLE}
    return {name: path for name, path in paths.items() if path.suffix != ".pyc" and path.is_file()}


def _beside(modules: Iterable[str]) -> dict[str, Path]:
    """The files of the packages that are imported: an editable install records none of them."""
    found: dict[str, Path] = {}
    for module in {module.partition(".")[0] for module in modules}:
        origin = _origin(module)
        if origin is None:
            continue
        inside = origin.parent.rglob("*") if origin.name == "__init__.py" else [origin]
        root = origin.parent.parent if origin.name == "__init__.py" else origin.parent
        found |= {
            path.relative_to(root).as_posix(): path
            for path in inside
            if path.is_file() and path.suffix != ".pyc" and "__pycache__" not in path.parts
        }
    return found


def _origin(module: str) -> Path | None:
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None
