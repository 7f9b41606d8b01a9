"""Client processes of a local federation: started together, ended together, their words kept in logs."""

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Callable
from pathlib import Path

from fedk.local.environment import inherited

LAST_LINES = 15
ENDING = 10.0
"""Seconds that a client has to end after SIGTERM before it is killed."""


class Processes:
    """One process for each client, of this interpreter. They end when this process does: their stdin closes."""

    def __init__(self, app: str, logs: Path, options: tuple[str, ...] = ()) -> None:
        self._app, self._logs, self._options = app, logs, options
        self._processes: dict[str, Process] = {}
        self._watching: list[asyncio.Task[None]] = []
        self._ending = False

    async def start(self, server: str, names: list[str], died: Callable[[str, str], None]) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        for part, name in enumerate(names):
            self._processes[name] = await self._started(server, name, f"{part}/{len(names)}")
            self._watching.append(asyncio.create_task(self._watch(name, died)))

    async def _started(self, server: str, name: str, part: str) -> Process:
        with self.log(name).open("wb") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "fedk_client", "run", self._app, "--server", server, "--name", name),
                *("--part", part, "--share-errors", "--end-with-stdin", *self._options),
                stdin=PIPE,
                stdout=log,
                stderr=STDOUT,
                env=inherited(),
                start_new_session=True,  # the terminal's Ctrl-C is for the parent, which ends them in order
            )

    async def _watch(self, name: str, died: Callable[[str, str], None]) -> None:
        code = await self._processes[name].wait()
        if not self._ending:
            died(name, f"{name} ended with {_ending(code)}; {self.log(name)} ends with\n{self.last_lines(name)}")

    def log(self, name: str) -> Path:
        """Where a client's stdout and stderr go."""
        return self._logs / f"{name}.log"

    def last_lines(self, name: str) -> str:
        """The end of a client's log."""
        lines = self.log(name).read_text(errors="replace").splitlines()[-LAST_LINES:]
        return "\n".join(f"  {line}" for line in lines)

    async def stop(self) -> None:
        self._ending = True
        for process in self._processes.values():
            if process.returncode is None:
                process.terminate()
        try:
            async with asyncio.timeout(ENDING):  # user code may not come back: then it is killed
                await asyncio.gather(*(p.wait() for p in self._processes.values()))
        except TimeoutError:
            for process in self._processes.values():
                if process.returncode is None:
                    process.kill()
        await asyncio.gather(*self._watching)


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
