"""What outlives a stream: who this client is, what it has been asked, and what it has answered."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from fedk_client.agenda import Agenda
from fedk_client.assignment import Assignment
from fedk_client.outbox import Outbox
from fedk_client.transfer import Inputs
from fedk_protocol.rooms import ROOMS, Resting
from fedk_protocol.v1 import federation_pb2 as pb

INLINE_MAX = 64 * 1024  # bytes, where Welcome names none
LISTED = 1_000
"""Results that a Hello may list. More come of many updates in one commit, from few clients; they are sent as new ones."""

BASE, CAP = 0.2, 2.0  # seconds of back-off, before the first Welcome


@dataclass(slots=True)
class Desk:
    """The connection's thread owns all of it but `outbox` and `agenda`, which guard themselves."""

    hello: pb.Hello  # without what changes from stream to stream
    outbox: Outbox
    agenda: Agenda
    deliver: Callable[[Assignment], None]  # to the thread of user code
    inputs: Inputs = field(default_factory=Inputs)
    failures: dict[str, pb.Failure] = field(default_factory=dict)  # not yet said, by task
    welcome: pb.Welcome = field(default_factory=pb.Welcome)  # the last one
    resting: Resting = field(init=False)

    def __post_init__(self) -> None:
        self.resting = Resting(lambda: self.inputs.rest(self.wanted), ROOMS.trim)

    @property
    def wanted(self) -> set[bytes]:
        """Hashes of the blobs that tasks at hand bring."""
        return {blob.sha256 for entry in self.agenda.entries() for blob in entry.task.inputs.values()}

    @property
    def has_joined(self) -> bool:
        return bool(self.welcome.client)

    @property
    def inline_max(self) -> int:
        return int(self.welcome.limits.inline_max) or INLINE_MAX

    @property
    def delays(self) -> tuple[float, float]:
        """Base and cap of the back-off, in seconds."""
        return self.welcome.reconnect_base or BASE, self.welcome.reconnect_cap or CAP

    def fail(self, failure: pb.Failure) -> None:
        """The task has no result."""
        self.failures[failure.task] = failure
        self.resting.begin()

    def greeting(self) -> pb.Hello:
        """The Hello of a new stream."""
        hello = pb.Hello()
        hello.CopyFrom(self.hello)
        hello.outbox.extend(kept.listed() for kept in islice(self.outbox, LISTED))
        hello.working.extend(entry.task.id for entry in self.agenda.entries())
        hello.working.extend(self.failures)
        return hello
