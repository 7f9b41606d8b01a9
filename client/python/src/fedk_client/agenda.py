"""The tasks that this client has been asked and has not answered."""

import math
import threading
from dataclasses import dataclass

from fedk_client.assignment import Assignment, deadline_of
from fedk_protocol.v1 import federation_pb2 as pb


@dataclass(slots=True)
class Entry:
    """`ready`: its inputs are here, and it waits for user code with its assignment; `begun`: user code has it."""

    task: pb.Task
    deadline: float = math.inf
    ready: bool = False
    assignment: Assignment | None = None
    begun: bool = False
    cancelled: bool = False


class Agenda:
    """The connection's thread adds and cancels, the thread of user code begins and finishes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, task: str) -> bool:
        return task in self._entries

    def add(self, task: pb.Task) -> Entry:
        """A task that has just arrived."""
        with self._lock:
            entry = self._entries[task.id] = Entry(task, deadline_of(task))
        return entry

    def find(self, task: str) -> Entry | None:
        """The task, if it is not answered."""
        return self._entries.get(task)

    def entries(self) -> list[Entry]:
        """All of them, oldest first."""
        with self._lock:
            return list(self._entries.values())

    def begin(self) -> Assignment | None:
        """The oldest that waits for user code, which starts on it; None where what waited has been cancelled."""
        with self._lock:
            entry = next((entry for entry in self._entries.values() if entry.assignment), None)
            if entry is None:
                return None
            entry.begun = True
            assignment, entry.assignment = entry.assignment, None
        return assignment

    def finish(self, task: str) -> None:
        """It is answered."""
        with self._lock:
            self._entries.pop(task, None)

    def cancel(self, task: str) -> bool:
        """Whether it is gone at once: user code that has begun is told when it reports, and answers itself."""
        with self._lock:
            entry = self._entries.get(task)
            if entry is None:
                return False
            entry.cancelled = True
            if not entry.begun:
                del self._entries[task]
        return not entry.begun

    def cancel_all(self) -> None:
        """This client is leaving."""
        for entry in self.entries():
            self.cancel(entry.task.id)

    def is_cancelled(self, task: str) -> bool:
        """Whether the server does not want the answer to a task that user code has."""
        entry = self._entries.get(task)
        return entry is not None and entry.cancelled
