"""Real processes on loopback: the command line as people use it, servers and clients that end with their test."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn, Protocol

import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
ENDING = 30
"""Seconds that a process has to end after SIGTERM; a longer wait is a fault that the test shows."""


class Fedk(Protocol):
    """Runs a command to its end."""

    def __call__(self, *words: str | Path, code: int | None = 0, env: dict[str, str] | None = None) -> "Output": ...


class Output:
    """What a command printed."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `-n 2 --dist loadgroup`, one process has the tests that are marked `aside`, the other one all others."""
    for item in items:
        aside = item.get_closest_marker("aside") is not None
        item.add_marker(pytest.mark.xdist_group("aside" if aside else "alone"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("aside") and "PYTEST_XDIST_WORKER" in os.environ:
        os.setpriority(os.PRIO_PROCESS, 0, 19)  # and that of all it starts


def unavailable(what: str, why: str) -> NoReturn:
    """Skip a test that this machine cannot run; fail where REQUIRED, names with commas between them, has `what`."""
    if what in os.environ.get("REQUIRED", "").split(","):
        pytest.fail(f"{what} are required here (REQUIRED): {why}")
    pytest.skip(why)


def environment(more: dict[str, str] | None = None) -> dict[str, str]:
    own = {key: value for key, value in os.environ.items() if not key.startswith("FEDK_")}
    return own | {"PATH": f"{BIN}:{os.environ['PATH']}"} | (more or {})


@pytest.fixture
def fedk(tmp_path: Path) -> Fedk:
    """`fedk …` or any other command of the environment (`fedk-client`, `python`), in the test's folder."""

    def run(*words: str | Path, code: int | None = 0, env: dict[str, str] | None = None) -> Output:
        command = [str(word) for word in words]
        if command[0] not in ("fedk-client", "python"):
            command.insert(0, "fedk")
        done = subprocess.run(
            command, cwd=tmp_path, env=environment(env), capture_output=True, text=True, timeout=300, check=False
        )
        if code is not None:
            assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return Output(done)

    return run


class Background:
    """A process that goes on while the test does."""

    def __init__(self, command: list[str], cwd: Path, log: Path, env: dict[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                command, cwd=cwd, env=environment(env), stdout=subprocess.PIPE, stderr=file, text=True
            )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)  # a full pipe would hold the process up
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as out:
            for line in out:
                self._lines.put(line)
        self._lines.put("")

    def line(self) -> str:
        """The next line of its stdout; blocks until there is one."""
        line = self._lines.get()
        assert line, f"ended with {self.process.wait()}: {self.log.read_text()}"
        return line

    def rest(self) -> str:
        """Everything that it still prints, once it has ended."""
        return "".join(iter(self._lines.get, ""))

    def kill(self) -> None:
        """As a power cut does."""
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(ENDING)  # a wait without an end would hide the fault


class Served(Background):
    """A server and where it listens."""

    def ready(self) -> "Served":
        words = self.line().split()
        self.listen = words[words.index("clients") + 1]
        self.admin = words[words.index("admin") + 1]
        return self


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Background]]:
    """Start any command in the background; what is left is killed at the end."""
    with ExitStack() as ending:

        def begin(*words: str | Path, log: str = "process.log", env: dict[str, str] | None = None) -> Background:
            begun = Background([str(word) for word in words], tmp_path, tmp_path / log, env)
            ending.callback(begun.kill)
            return begun

        yield begin


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start `fedk server` on free ports over the test's data directory, and wait for its first line."""
    with ExitStack() as ending:

        def begin(listen: str = "127.0.0.1:0", admin: str = "127.0.0.1:0", **env: str) -> Served:
            variables = {"FEDK_SERVER__LISTEN": listen, "FEDK_SERVER__ADMIN": admin, **env}
            served = Served(["fedk", "server"], tmp_path, tmp_path / "server.log", variables)
            ending.callback(served.kill)
            return served.ready()

        yield begin


Figure = Callable[..., None]
"""`figure(seconds=…)`: what was measured, by name."""


@pytest.fixture
def figure(record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]) -> Figure:
    """Print figures beside the dots."""

    def say(**numbers: object) -> None:
        for name, number in numbers.items():
            record_property(name, number)
        with capsys.disabled():
            print("\n  ", "   ".join(f"{name.replace('_', ' ')} {number}" for name, number in numbers.items()))  # noqa: T201  # its result

    return say


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels of all distributions, built from the tree."""
    folder = tmp_path_factory.mktemp("wheels")
    command: list[str | Path] = [
        BIN / "uv",
        "build",
        "-q",
        "--all-packages",
        "--wheel",
        "--no-build-isolation",
        "-o",
        folder,
    ]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True)
    return folder


class Installed:
    """An environment outside the repository, with nothing in it but what was installed."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        self.bin, self._wheels = folder / "bin", wheels
        subprocess.run([BIN / "uv", "venv", "-q", "--python", sys.executable, folder], check=True)

    def install(self, *what: str | Path) -> None:
        """From the wheels, and what they need from the package index."""
        here = ("--python", self.bin / "python", "--find-links", self._wheels)
        subprocess.run([BIN / "uv", "pip", "install", "-q", *here, *what], check=True)

    def uninstall(self, what: str) -> None:
        subprocess.run([BIN / "uv", "pip", "uninstall", "-q", "--python", self.bin / "python", what], check=True)

    def run(self, *words: str | Path, cwd: Path, code: int | None = 0) -> Output:
        """A command of this environment, to its end."""
        command = [str(self.bin / str(words[0])), *map(str, words[1:])]
        path = {"PATH": f"{self.bin}:/usr/bin:/bin"}
        done = subprocess.run(
            command, cwd=cwd, env=environment() | path, capture_output=True, text=True, timeout=300, check=False
        )
        if code is not None:
            assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return Output(done)


@pytest.fixture(scope="session")
def installed(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """`pip install 'fedk[standard]'` from the wheels, shared by the tests: who installs more uninstalls it again."""
    environment = Installed(tmp_path_factory.mktemp("installed"), wheels)
    environment.install("fedk[standard]")
    return environment
