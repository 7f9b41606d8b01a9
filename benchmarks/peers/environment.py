"""A peer's own environment: newest release that the package index has for this Python, and nothing of ours beside it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import BIN, Process, undisturbed

FOLDER = Path(__file__).resolve().parent.parent / ".peers"
UV = str(BIN / "uv") if (BIN / "uv").exists() else "uv"


@dataclass(frozen=True)
class Environment:
    """Where one distribution is installed."""

    name: str
    folder: Path
    version: str

    def process(self, *command: str | Path, folder: Path, **env: str) -> Process:
        """Start one of its programs."""
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return Process(self.folder / "bin" / command[0], *command[1:], folder=folder, PATH=path, **env)

    def run(self, *command: str | Path, folder: Path, **env: str) -> str:
        """One of its programs, to its end; what it said. RuntimeError where it failed."""
        with self.process(*command, folder=folder, **env) as process:
            process.finished()
        return "".join(process.heard)


def installed(name: str) -> Environment:
    """Made or renewed. RuntimeError with the installer's words where it cannot be."""
    folder = FOLDER / name
    if not (folder / "bin" / "python").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _uv("venv", "-q", "--python", sys.executable, str(folder))
    here = ("--python", str(folder / "bin" / "python"))
    _uv("pip", "install", "-q", "--upgrade", *here, name, "numpy")
    shown = _uv("pip", "show", *here, name)
    return Environment(
        name, folder, next(line.split()[1] for line in shown.splitlines() if line.startswith("Version:"))
    )


def _uv(*words: str) -> str:
    done = subprocess.run([UV, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"uv {' '.join(words)}: {done.stderr.strip()[-300:]}")
    return done.stdout


@contextmanager
def cleared(folder: Path) -> Iterator[None]:
    """Kills at the end what still has this folder in its environment: peers start processes that nobody here knows."""
    try:
        yield
    finally:
        with undisturbed():
            for file in Path("/proc").glob("[0-9]*/environ"):
                with suppress(OSError):  # it has ended meanwhile, or is another's
                    if str(folder).encode() in file.read_bytes():
                        os.kill(int(file.parent.name), signal.SIGKILL)
