"""How `rounds` reaches clients, and what they bring: the interface that `network` implements, and its words."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fedk.aggregation.intake import Place
from fedk.aggregation.record import record
from fedk.blobs.reader import Span


@dataclass(frozen=True, slots=True)
class Input:
    """A named blob that a task brings."""

    sha256: bytes
    size: int
    codec: str = "safetensors"
    inline: bytes | None = None  # where it is small enough


@dataclass(frozen=True, slots=True)
class Work:
    """What all tasks of one round and kind have in common: encoded once."""

    project: str
    session: str
    session_name: str
    kind: str
    before: tuple[str, ...]
    round: int
    step: int
    inputs: Mapping[str, Input]
    settings: str  # a JSON object
    wants: tuple[str, ...]
    sets: tuple[str, ...]
    remaining: Callable[[], float]  # seconds until the deadline, at the moment of sending
    codec: str = ""  # that the answer's model may be in
    codec_settings: str = ""  # a JSON object


@record(frozen=True, slots=True)
class Offer:
    """One task on its way to one client."""

    task: str
    client: str
    seed: int
    work: Work


@record(frozen=True, slots=True)
class Receipt:
    """The result is held durably."""

    task: str
    result_id: str


@record(frozen=True, slots=True)
class Verdict:
    """The last word on a result; `outcome` is committed | recorded | rejected | failed | lost | cancelled."""

    task: str
    result_id: str
    outcome: str
    model: str = ""  # SESSION/ROUND
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SendFrom:
    """This server has so many bytes of the result: send the rest."""

    task: str
    result_id: str
    offset: int


Reply = Receipt | Verdict | SendFrom


@dataclass(frozen=True, slots=True)
class Kept:
    """A result that a client holds without a verdict."""

    task: str
    result_id: str
    sha256: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Joining:
    """A client that says hello."""

    project: str
    name: str
    instance: str
    attributes: Mapping[str, str]
    capabilities: tuple[str, ...]
    outbox: tuple[Kept, ...]
    software: str
    ticket: str = ""  # of the placement that brought it here


@dataclass(frozen=True, slots=True)
class Present:
    """A client of a combiner: its stream is ready, or has ended for a `cause`."""

    client: str
    instance: str
    cause: str = ""  # "lost" | "goodbye"


@dataclass(frozen=True, slots=True)
class Joined:
    """What the root answers: the client's id, and what to say of each kept result."""

    client: str
    replies: tuple[Reply, ...]


class Redirected(Exception):
    """Another server serves this client; `ticket` is of its placement there."""

    def __init__(self, addresses: Sequence[str], ticket: str = "") -> None:
        super().__init__(f"redirected to {', '.join(addresses)}")
        self.addresses, self.ticket = tuple(addresses), ticket


@dataclass(frozen=True, slots=True)
class Measured:
    """Metrics of one kind of task, with what weighs them."""

    num_examples: int
    metrics: Mapping[str, float]


@record(frozen=True, slots=True)
class Arrival:
    """A result whose bytes have passed intake and stand in the spool (written, not yet synced)."""

    task: str
    client: str
    result_id: str
    num_examples: int
    metrics: Mapping[str, float]
    sha256: bytes  # of all its blobs' bytes in the order of their sorted names
    span: Span | None = None  # where they stand; None for a result without blobs
    blobs: Mapping[str, Place] = field(default_factory=dict)  # by name, within the span
    norm: float = 0.0
    max_abs: float = 0.0
    before: Mapping[str, Measured] = field(default_factory=dict)
    settings_read: tuple[str, ...] = ()
    received: int = 0  # bytes on the wire
    via: tuple[str, ...] = ()  # the combiners that it went through, from the highest down
    project: str = ""  # where a combiner tells of it


@record(frozen=True, slots=True)
class Wanted:
    """An accepted update whose bytes a combiner holds, and its terms in the sum."""

    task: str
    sha256: bytes
    weight: float
    scale: float
    base: bytes  # sha256 of the model that it was trained on


@dataclass(frozen=True, slots=True)
class Flush:
    """What a combiner is asked for: the sum of these updates, or each as it came."""

    session: str
    project: str
    round: int
    forward: bool
    delta: bool  # what is summed: deltas to the base, or models
    sets: tuple[str, ...]
    plain: tuple[str, ...]
    exact: bool
    wanted: tuple[Wanted, ...]


class Clients(Protocol):
    """The clients that are connected to this server. No call blocks or raises for a client that is not there."""

    def offer(self, offer: Offer) -> None:
        """Queue the task; `Runner.sent` is called when it is written to the client's stream."""

    def cancel(self, client: str, task: str, reason: str) -> None:
        """Take the task back, queued or sent."""

    def reply(self, client: str, reply: Reply, holders: Collection[str] = ()) -> None:
        """Say it on the client's stream, and to combiners that hold the result."""

    def flush(self, holder: str, flush: Flush) -> None:
        """Ask a combiner for what it holds."""

    def partial_taken(self, holder: str, session: str, number: int) -> None:
        """Tell a combiner that its sum is here."""

    def refold(self, holder: str, session: str, number: int, without: Sequence[str]) -> None:
        """Tell a combiner that its sum is not taken because of these tasks."""

    def drain_below(self, holder: str, name: str) -> None:
        """Tell a combiner that the one of this name below it is to give away what it holds."""

    def unreached(self, project: str, name: str, addresses: Collection[str]) -> None:
        """A client could not connect to these combiners."""

    def move(self, holder: str) -> None:
        """Send every client of a combiner elsewhere."""

    def rebalance(self) -> int:
        """Send clients from servers with many to those with few; answers how many."""

    def redirect(self, client: str, addresses: Sequence[str], ticket: str) -> None:
        """Another server serves this client from now on."""

    def traffic(self, session: str) -> tuple[int, int]:
        """Bytes (sent to, received from) the clients of a session, by this process."""
