"""What outlives a stream: who this client is, what it has been asked, and what it has answered."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from fedk_client.agenda import Agenda
from fedk_client.outbox import Outbox
from fedk_client.transfer import Inputs
from fedk_protocol.rooms import ROOMS, Resting
from fedk_protocol.v1 import federation_pb2 as pb

INLINE_MAX, MESSAGE_MAX = 64 * 1024, 4 * 2**20
"""Bytes, where Welcome names none. No message is larger than the second, whatever it names."""
LINE = 10_000  # characters of a text for people that are sent
AT_HAND = 16
"""Tasks that are taken. A server sends one at a time; whoever sends more would fill this client's memory."""

LISTED = 1_000
"""Results that a Hello may list. More come of many updates in one commit, from few clients; they are sent as new ones."""

BASE, CAP = 0.2, 2.0  # seconds of back-off, before the first Welcome
_SHORTEST, _LONGEST = 0.01, 3_600.0  # whatever it names then


@dataclass(slots=True)
class Desk:
    """The connection's thread owns all of it but `outbox` and `agenda`, which guard themselves."""

    hello: pb.Hello  # without what changes from stream to stream
    outbox: Outbox
    agenda: Agenda
    ready: Callable[[], None]  # tells the thread of user code that a task waits in the agenda
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
    def message_max(self) -> int:
        return min(int(self.welcome.limits.message_max) or MESSAGE_MAX, MESSAGE_MAX)

    @property
    def delays(self) -> tuple[float, float]:
        """Base and cap of the back-off, in seconds."""
        return _sane(self.welcome.reconnect_base, BASE), _sane(self.welcome.reconnect_cap, CAP)

    def fail(self, failure: pb.Failure) -> None:
        """The task has no result."""
        failure.detail = failure.detail[:LINE]  # exceptions may say more than servers take in a message
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


def _sane(seconds: float, default: float) -> float:
    return default if math.isnan(seconds) else min(max(seconds or default, _SHORTEST), _LONGEST)
