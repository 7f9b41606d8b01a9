"""A client at work: user code in one thread, the connection in another."""

import logging
import queue
import threading
import time
import uuid
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from fedk_client.agenda import Agenda
from fedk_client.assignment import Answer, Assignment
from fedk_client.connection import Connection
from fedk_client.conversation import label, results
from fedk_client.desk import Desk
from fedk_client.disk import Disk
from fedk_client.errors import ClientError, TaskCancelled
from fedk_client.failure import describe, trace
from fedk_client.journal import on_stderr, plain, say
from fedk_client.outbox import Outbox
from fedk_client.packing import capabilities
from fedk_client.seeds import restored
from fedk_client.shelf import Memory
from fedk_client.signals import Terminated, terminable
from fedk_client.task import Client
from fedk_client.version import __version__
from fedk_client.worker import Worker
from fedk_protocol.layout import shown
from fedk_protocol.reasons import Reason
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.version import VERSION

if TYPE_CHECKING:
    from fedk_client.app import ClientApp  # which starts this, and so imports it

M = TypeVar("M")
D = TypeVar("D")

log = logging.getLogger("fedk_client")


class _Word(Enum):
    """What the thread of user code finds in its inbox."""

    READY = "a task is, in the agenda"
    OVER = "the connection is"
    SIGNAL = "has come, whose handler runs on waking"


class Running(Generic[M, D]):
    """What `app.start` gives: a context manager; leaving it, or `stop`, says goodbye to the server."""

    def __init__(
        self,
        app: "ClientApp[M, D]",
        server: str,
        client: Client,
        *,
        project: str = "default",
        state: str | Path | None = None,
        share_errors: bool = False,
    ) -> None:
        self.client, self._share_errors, self._state = client, share_errors, state
        self._inbox: queue.SimpleQueue[_Word] = queue.SimpleQueue()
        self._agenda = Agenda()
        shelf = Disk(Path(state), project=project, name=client.name) if state else Memory()
        self._outbox = Outbox(shelf)
        hello = _hello(client, project, app.kinds)
        self._connection = Connection(server, Desk(hello, self._outbox, self._agenda, self._ready))
        self._worker = Worker(app, client, app.load_data(client), state_of=self._outbox.state, reports=self._connection)
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """User code in this thread, which should be the main one, until SIGTERM; raises what ended it otherwise."""
        self._worker.alone = True
        with on_stderr(), restored():
            try:
                with terminable(lambda: self._inbox.put(_Word.SIGNAL)):
                    self._begin()
                    self._work()
            except Terminated:
                log.info("stopped by SIGTERM")
            finally:
                self.stop()

    def start(self) -> None:
        """User code in a thread of its own."""
        self._begin()
        self._thread = threading.Thread(target=self._work, name=f"fedk-{self.client.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye, and wait for the user code that is under way; its `task.report` raises TaskCancelled.

        Raises what ended the connection before, for example Superseded.
        """
        self._agenda.cancel_all()
        try:
            self._connection.stop()
        finally:
            self.wait()
            self._say_what_is_kept()

    def wait(self) -> None:
        """Until the client has ended: turned away, superseded, or stopped by another thread."""
        if self._thread is not None:
            self._thread.join()

    def _say_what_is_kept(self) -> None:
        if count := len(self._outbox):
            fate = f"kept in {self._state}" if self._state else "lost: a state directory would keep them"
            log.info("%s without a verdict %s", results(count), fate)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _begin(self) -> None:
        self._connection.start(ended=self._over)

    def _ready(self) -> None:
        self._inbox.put(_Word.READY)

    def _over(self) -> None:
        self._agenda.cancel_all()
        self._inbox.put(_Word.OVER)

    def _work(self) -> None:
        for _ in iter(self._inbox.get, _Word.OVER):
            if assignment := self._agenda.begin():
                self._answer(assignment)
            del assignment  # while this waits for the next one, nobody looks at its inputs

    def _answer(self, assignment: Assignment) -> None:
        begin = time.perf_counter()
        try:
            self._outbox.check_room()
            answer = self._perform(assignment)
            kept = self._outbox.keep(assignment, answer)
        except TaskCancelled:
            self._fail(assignment, Reason.CANCELLED, "")
        except (Exception, SystemExit) as error:  # user code may raise anything; this client stays
            frames = None if isinstance(error, ClientError) else trace(error)  # else its sentence says all
            what = (assignment.kind, shown(assignment.session), assignment.round, plain(describe(error, share=True)))
            log.error("%s of %s round %d failed: %s", *what, exc_info=frames)  # noqa: TRY400 — user code's frames
            self._fail(assignment, Reason.RAISED, describe(error, share=self._share_errors))
        else:
            say(f"{label(kept)} {answer.summary(assignment.kind, time.perf_counter() - begin)}")
            self._agenda.finish(assignment.id)
            self._connection.answered(kept)

    def _perform(self, assignment: Assignment) -> Answer:
        answer = self._worker.perform(assignment)
        if self._agenda.is_cancelled(assignment.id):
            raise TaskCancelled  # user code did not ask
        return answer

    def _fail(self, assignment: Assignment, reason: Reason, detail: str) -> None:
        self._agenda.finish(assignment.id)
        self._connection.failed(assignment.id, reason, detail)


def _hello(client: Client, project: str, kinds: Sequence[str]) -> pb.Hello:
    return pb.Hello(
        version=pb.Version(major=VERSION[0], minor=VERSION[1]),
        project=project,
        name=client.name,
        instance=uuid.uuid4().hex,
        attributes=client.attributes,
        capabilities=[*kinds, *capabilities()],
        tasks=1,
        also=True,
        software=f"fedk-client {__version__}",
    )
