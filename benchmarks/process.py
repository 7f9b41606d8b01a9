"""A process that is measured or helps to: what it says is heard line by line, and it ends with its `with`."""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

BIN = Path(sys.executable).parent
ENDING = 15.0  # seconds that it has to end after SIGTERM before it is killed
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
TICKS = os.sysconf("SC_CLK_TCK")
HEARD, LAST = 10_000, 12  # lines that are kept, and that are shown of one that went wrong


_begun: "set[Process]" = set()


def end_all() -> None:
    """Whatever was begun and is not ended: interrupted between its start and its `with`."""
    for process in [*_begun]:
        process.end()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Signals wait until this is over: a process that has begun is known, and one that ends has ended."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda signum, _: came.append(signum)) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for signum in came:
            signal.raise_signal(signum)


class Process:
    """Standard output and error in one; standard input stays open as long as it is wanted."""

    def __init__(self, *command: str | Path, folder: Path, **env: str) -> None:
        own = {key: value for key, value in os.environ.items() if not key.startswith("FEDK_")}
        self.command = [str(word) for word in command]
        self.heard: deque[str] = deque(maxlen=HEARD)
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)  # a full pipe would hold the process up
        with undisturbed():
            self.process = subprocess.Popen(
                self.command, cwd=folder, env=own | {"PATH": f"{BIN}:{os.environ['PATH']}"} | env, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                start_new_session=True,  # the terminal's Ctrl-C is for the benchmark, which ends them in order
            )  # fmt: skip
            self._reader.start()
            _begun.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _read(self) -> None:
        assert self.process.stdout is not None  # noqa: S101  # a pipe was asked for
        with self.process.stdout as out:
            for line in out:
                self.heard.append(line)
                self._lines.put(line)
        self._lines.put(None)

    @property
    def pid(self) -> int:
        return self.process.pid

    def until(self, *words: str) -> str:
        """The next line with one of these. RuntimeError when it ended before, with its last words."""
        while (line := self._lines.get()) is not None:
            if any(word in line for word in words):
                return line
        raise RuntimeError(self._ending)

    def finished(self) -> None:
        """Wait for its own end. RuntimeError where that was no good one, with its last words."""
        if self.process.wait():
            self._reader.join()
            raise RuntimeError(self._ending)

    @property
    def _ending(self) -> str:
        last = "".join([*self.heard][-LAST:]).strip()
        return f"{' '.join(self.command)} ended with {self.process.wait()}: {last}"

    def end(self) -> None:
        """In order, and if that takes too long at once."""
        with undisturbed():
            assert self.process.stdin is not None  # noqa: S101  # a pipe was asked for
            self.process.terminate()
            self.process.stdin.close()
            try:
                self.process.wait(ENDING)  # as ENDING says
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self.process.wait()
            self._reader.join()
            _begun.discard(self)

    @property
    def memory(self) -> int:
        """Bytes that are its own: no file's, no library's."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:"))

    @property
    def cpu(self) -> float:
        """Seconds of CPU so far, of all its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


class Peak:
    """The most memory that a process had meanwhile. The kernel keeps no high-water mark of RssAnon alone."""

    INTERVAL = 0.005  # seconds between looks: 100 MB take ten times as long to arrive

    def __init__(self, process: Process) -> None:
        self._process, self._over = process, threading.Event()
        self.idle = self.bytes = process.memory
        self._looking = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._looking.join()

    def _look(self) -> None:
        while not self._over.wait(self.INTERVAL):  # memory sends no event: sampled, as INTERVAL says
            self.bytes = max(self.bytes, self._process.memory)

    @property
    def grown(self) -> int:
        """Above what it had before."""
        return self.bytes - self.idle
