"""Work beside a stream: transfers, and waits before another try. One for each task."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Jobs:
    """`broken` is called when a job has raised; `fault` is what. A job that nobody watches must not fail in silence."""

    def __init__(self, broken: Callable[[], object]) -> None:
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._broken = broken
        self.fault: BaseException | None = None

    def __contains__(self, task: str) -> bool:
        return task in self._jobs

    def start(self, task: str, work: Coroutine[Any, Any, None]) -> None:
        """In place of this task's job, if it has one."""
        self.stop(task)
        job = self._jobs[task] = asyncio.create_task(work)
        job.add_done_callback(lambda done: self._done(task, done))

    def stop(self, task: str) -> bool:
        """Whether there was one."""
        job = self._jobs.pop(task, None)
        return job is not None and job.cancel()

    def give_up(self, task: str) -> None:
        """What its job is about is settled: stop it, unless it is the job that has heard so."""
        if self._jobs.get(task) is not asyncio.current_task():
            self.stop(task)

    def finish(self, task: str) -> None:
        """Its job has done all it had to: what follows may begin before the loop sees the job end."""
        self._jobs.pop(task, None)

    def close(self) -> None:
        for task in list(self._jobs):
            self.stop(task)

    def _done(self, task: str, job: "asyncio.Task[None]") -> None:
        if self._jobs.get(task) is job:
            del self._jobs[task]
        if not job.cancelled() and (fault := job.exception()):
            self.fault = fault
            self._broken()
