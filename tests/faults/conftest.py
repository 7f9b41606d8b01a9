"""Servers and clients that are killed: processes whose every word is heard when it is said."""

import itertools
import json
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import environment

HERE = Path(__file__).parent
SEEDED = f"{HERE / 'seeded.py'}:app"
SILENCE = 60
"""Seconds without a word after which a server has hung: the test that waits for it fails instead of never ending."""


class Process:
    """Its stderr is read line by line as it comes. `within` is a command that runs it somewhere else."""

    def __init__(self, command: list[str], cwd: Path, *, within: Sequence[str] = (), **env: str) -> None:
        self.process = subprocess.Popen(
            [*within, *command], cwd=cwd, env=environment(env), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        self.heard: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.first: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._out, self._err)]
        for reader in self._readers:
            reader.start()

    def _out(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.first.put(line)
        self.first.put("")

    def _err(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.heard.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def until(self, *words: str) -> str:
        """The next line with one of these words."""
        with suppress(queue.Empty):
            while (line := self._lines.get(timeout=SILENCE)) is not None:  # as SILENCE says
                if any(word in line for word in words):
                    return line
        raise AssertionError(f"{words} was not said; the last words were\n{''.join(self.heard[-20:])}")

    def forget(self) -> None:
        """What it has said so far is not waited for any more."""
        with suppress(queue.Empty):
            while True:
                self._lines.get_nowait()

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    @property
    def memory(self) -> int:
        """Bytes that are its own: no file's, no library's."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:"))

    def hold(self) -> None:
        """It stops where it is, and says nothing more, until `go_on`; its connections stay."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """At once, with whatever it was doing."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """In order."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait()
        for reader in self._readers:
            reader.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


class Server(Process):
    """`fedk server`, which tells every event."""

    def __init__(
        self,
        folder: Path,
        listen: str = "127.0.0.1:0",
        admin: str = "127.0.0.1:0",
        *,
        role: str = "standalone",
        within: Sequence[str] = (),
        **env: str,
    ) -> None:
        began = time.monotonic()
        own = {**_listening(listen, admin), "FEDK_SERVER__ROLE": role, **env}
        super().__init__(["fedk", "server"], folder, within=within, **own)
        words = self.first.get(timeout=SILENCE).split()  # as SILENCE says
        assert "ready" in words, "".join(self.heard)
        self.starting = time.monotonic() - began
        self.listen, self.admin = words[words.index("clients") + 1], words[words.index("admin") + 1]


def _listening(listen: str, admin: str) -> dict[str, str]:
    return {"FEDK_SERVER__LISTEN": listen, "FEDK_SERVER__ADMIN": admin, "FEDK_LOG__LEVEL": "debug"}


class Site:
    """One data directory, its server, its clients. `within` is the server's, and the command line's."""

    role = "standalone"
    within: Sequence[str] = ()

    def __init__(self, folder: Path, ending: ExitStack, **server: Any) -> None:
        self.folder, self._ending = folder, ending
        folder.mkdir(exist_ok=True)  # a test may have mounted a disk in it
        self.clients: dict[str, Process] = {}
        self.kills = {"server": 0, "clients": 0}
        self._env: dict[str, str] = {}
        self._apps: dict[str, str] = {}  # by client
        self.server = self._kept(Server(folder, role=self.role, within=self.within, **server))

    def _kept(self, process: Any) -> Any:
        self._ending.callback(process.kill)
        return process

    def restart(self, *, kill: bool = True, outage: float = 0.0, env: dict[str, str] | None = None) -> None:
        """At the same addresses, after so many seconds without a server; `env` is the new one's."""
        old = self.server
        if kill:
            old.kill()
            self.kills["server"] += 1
        else:
            old.stop()
        time.sleep(outage)  # the fault itself
        self.server = self._kept(Server(self.folder, *self._addresses(old), role=self.role, **(env or {})))

    def die_young(self, share: float) -> None:
        """Kill the server, and the next one in mid-start: after a share of the time that this one's start took."""
        self.server.kill()
        listening = _listening(*self._addresses(self.server))
        young = self._kept(Process(["fedk", "server"], self.folder, **listening))
        time.sleep(share * self.server.starting)  # the instant itself
        young.kill()
        self.kills["server"] += 1

    def _addresses(self, server: Server) -> tuple[str, str]:
        return server.listen, server.admin.removeprefix("http://")

    def join(self, *names: str, app: str = SEEDED, server: str = "", within: Sequence[str] = (), **env: str) -> None:
        """Clients with a disk; `server` where they reach theirs another way."""
        self._env = self._env or env
        for name in names:
            self._apps[name] = app
            state = str(self.folder / f"state-{name}")
            command = ["fedk-client", "run", app, "--server", server or self.server.listen, "--name", name]
            command += ["--state", state]
            self.clients[name] = self._kept(Process(command, self.folder, within=within, **self._env))

    def kill(self, name: str) -> None:
        """A client, which comes back at once."""
        self.clients[name].kill()
        self.kills["clients"] += 1
        self.join(name, app=self._apps[name])

    def crowd(self, count: int, elements: int = 100) -> Process:
        """Clients of one process, whose model has so many elements."""
        command = [sys.executable, str(HERE / "crowd.py"), self.server.listen, str(count), str(elements)]
        found: Process = self._kept(Process(command, self.folder))
        assert found.first.get(timeout=SILENCE) == "joined\n", "".join(found.heard)  # as SILENCE says
        return found

    def fedk(self, *words: str, **more: str) -> str:
        env = environment({"FEDK_URL": self.server.admin, **more})
        done = subprocess.run(
            [*self.within, "fedk", *words], cwd=self.folder, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def rest(self, path: str, body: Any = None) -> Any:
        """GET, or POST where there is a body."""
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(  # noqa: S310  # of this test's server
            f"{self.server.admin}/api/v1/{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked) as answer:  # noqa: S310  # as above
            return json.load(answer)

    def session(self, name: str, text: str, **env: str) -> None:
        """Start one from the seeded app's model."""
        file = self.folder / f"{name}.toml"
        file.write_text(f'name = "{name}"\nseed = 7\n{text}')
        self.fedk("session", "start", str(file), **env)

    def digests(self, name: str) -> list[str]:
        found = json.loads(self.fedk("model", "trail", name, "--verify", "--json"))
        return [model["digest"] for model in found["models"]]


MakeSite = Callable[[], Site]
Calm = Callable[[int, int], list[str]]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[MakeSite]:
    """Any number of them; all processes end with the test."""
    with ExitStack() as ending:
        numbers = itertools.count()
        yield lambda: Site(tmp_path / str(next(numbers)), ending)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Calm:
    """Digests of so many rounds with so many weights in the equality profile; each is run once."""
    from tests.faults import equality  # noqa: PLC0415  # which needs this file

    @cache
    def digests(rounds: int, weights: int) -> list[str]:
        with ExitStack() as ending:
            site = Site(tmp_path_factory.mktemp("calm") / "site", ending)
            equality.begin(site, rounds, weights)
            return equality.end(site)

    return digests
