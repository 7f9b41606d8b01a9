"""The server that is measured: `fedk server`, in a process and a folder of its own."""

import json
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.process import Process

FREE = {"FEDK_SERVER__LISTEN": "127.0.0.1:0", "FEDK_SERVER__ADMIN": "127.0.0.1:0"}
_numbers = count(1)


class Server(Process):
    """Once it listens."""

    def __init__(self, folder: Path, **env: str) -> None:
        super().__init__("fedk", "server", folder=folder, **FREE, **env)
        words = self.until(", ready").split()
        self.folder = folder
        self.listen, self.admin = words[words.index("clients") + 1], words[words.index("admin") + 1]

    def put(self, data: bytes) -> str:
        """Store a model: a safetensors file's bytes. Its id."""
        found: dict[str, str] = self._asked("models", data, "application/octet-stream")
        return found["id"]

    def rest(self, path: str, body: Any = None) -> Any:
        """GET, or POST where there is a body."""
        return self._asked(path, None if body is None else json.dumps(body).encode(), "application/json")

    def _asked(self, path: str, data: bytes | None, kind: str) -> Any:
        asked = urllib.request.Request(f"{self.admin}/api/v1/{path}", data, {"Content-Type": kind})  # noqa: S310  # the server's own
        with urllib.request.urlopen(asked) as answer:  # noqa: S310  # as above
            return json.load(answer)

    def begin(self, *, clients: int, rounds: int, **rules: Any) -> str:
        """Start a session that waits for so many clients; its name."""
        name = f"bench-{next(_numbers)}"
        self.rest("sessions", {"name": name, "rounds": rounds, "seed": 1, "clients": {"min": clients}, **rules})
        return name

    def ended(self, name: str) -> list[float]:
        """Wait for a session's end: the seconds of each of its rounds. RuntimeError where it failed."""
        while f"session={name}" not in (line := self.until("session.finished", "session.failed")):
            pass
        if "session.finished" not in line:
            raise RuntimeError(line.strip())
        return [
            found["seconds"] for found in self.rest(f"sessions/{name}/rounds?limit=1000")["rounds"] if found["round"]
        ]

    def session(self, *, clients: int, rounds: int, **rules: Any) -> list[float]:
        """Seconds of each round, from its opening to its commit."""
        return self.ended(self.begin(clients=clients, rounds=rounds, **rules))


@contextmanager
def served(**env: str) -> Iterator[Server]:
    """A server with an empty data directory, which goes with it."""
    with (
        tempfile.TemporaryDirectory(prefix="fedk-bench-", ignore_cleanup_errors=True) as folder,
        Server(Path(folder), **env) as server,
    ):
        yield server
